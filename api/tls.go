package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"keycloak-model-api/api/fresh"
	"keycloak-model-api/api/upstream"
)

// certificates returns what servers need for TLS; nil where config has no
// certificate. Each new connection gets the certificate that stands in the files.
func certificates(config Config, log *slog.Logger) (*tls.Config, error) {
	if config.TLSCertificate == "" {
		return nil, nil
	}
	own, err := fresh.New(func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(config.TLSCertificate, config.TLSKey)
		return &pair, err
	}, func(err error) { log.Error("certificate not read: the one from before stays in use", "err", err) })
	if err != nil {
		return nil, fmt.Errorf("api: -tls-certificate, -tls-key: %w", err)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.Get(), nil },
	}, nil
}

// demandCertificates has secure ask each client for a certificate that an authority
// in file has signed.
func demandCertificates(secure *tls.Config, file string, log *slog.Logger) error {
	authorities, err := fresh.New(func() (*x509.CertPool, error) { return upstream.Authorities(file) },
		func(err error) { log.Error("authorities not read: those from before stay in use", "err", err) })
	if err != nil {
		return fmt.Errorf("api: -authorize-client-ca: %w", err)
	}
	secure.ClientAuth = tls.RequireAndVerifyClientCert
	secure.ClientCAs = authorities.Get()
	secure.SessionTicketsDisabled = true // a ticket would outlive the authority
	secure.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := secure.Clone()
		now.ClientCAs = authorities.Get()
		return now, nil
	}
	return nil
}

// serveOn is server.Serve, over TLS where the server has a configuration for that.
func serveOn(server *http.Server, listener net.Listener) error {
	if server.TLSConfig == nil {
		return server.Serve(listener)
	}
	return server.ServeTLS(listener, "", "")
}
