package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"

	"keycloak-model-api/api/fresh"
	"keycloak-model-api/policy"
)

// TransportFor is Transport for a model server with certificates of its own. New
// ones in the files count for new connections; files that can't be read leave those
// from before in force. The error says what can't be read now.
func TransportFor(t *policy.TLS) (*http.Transport, error) {
	var authorities *fresh.Value[*x509.CertPool] // nil for the system's
	var own *fresh.Value[tls.Certificate]        // nil for none
	var err error
	if t.CA != "" {
		if authorities, err = fresh.New(func() (*x509.CertPool, error) { return Authorities(t.CA) }, nil); err != nil {
			return nil, err
		}
	}
	if t.Certificate != "" {
		if own, err = fresh.New(func() (tls.Certificate, error) { return tls.LoadX509KeyPair(t.Certificate, t.Key) }, nil); err != nil {
			return nil, fmt.Errorf("upstream: %w", err)
		}
	}
	transport := Transport()
	dial := transport.DialContext
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cmp.Or(t.ServerName, host), NextProtos: []string{"h2", "http/1.1"}}
		if authorities != nil {
			config.RootCAs = authorities.Get()
		}
		if own != nil {
			config.Certificates = []tls.Certificate{own.Get()}
		}
		connection, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		secure := tls.Client(connection, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			connection.Close()
			return nil, err
		}
		return secure, nil
	}
	return transport, nil
}

// Authorities reads the certificates of those who sign certificates, in PEM.
func Authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("upstream: %s holds no certificate in PEM", file)
	}
	return pool, nil
}
