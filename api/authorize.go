package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"keycloak-model-api/api/authorizer"
	"keycloak-model-api/api/gateway"
	"keycloak-model-api/api/upstream"
)

// authorizeSecret is the environment variable of what proxies must show. It is no
// flag, since those can be read by other users of a computer.
const authorizeSecret = "API_AUTHORIZE_SECRET"

// serveAuthorizer serves proxies that ask whether they may pass a request on, if
// there is an address for that. stop lets questions that are under way be answered.
func serveAuthorizer(config Config, g *gateway.Gateway, getenv func(string) string, log *slog.Logger) (stop func(), err error) {
	if config.AuthorizeListen == "" {
		return func() {}, nil
	}
	secret, secure, err := authorizeAccess(config, getenv, log)
	if err != nil {
		return nil, &usageError{err}
	}
	listener, err := listen("authorize-listen", onLoopback(config.AuthorizeListen))
	if err != nil {
		return nil, err
	}
	method, target := config.AuthorizeMethod, config.AuthorizeTarget
	server := newServer(authorizer.New(authorizer.Config{
		Judge: g.Authorizer(method, target), MethodHeader: method, TargetHeader: target, Secret: secret, Logger: log,
	}), secure, log)
	go func() {
		if err := serveOn(server, listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the authorizer's listener has failed", "err", err)
		}
	}()
	log.Info("authorizer's listener", "address", listener.Addr().String(), "path", "/authorize")
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), authorizeTimeout)
		defer cancel()
		_ = server.Shutdown(ctx)
		server.Close()
	}, nil
}

// authorizeAccess returns how proxies show that they are some: by a secret, by a
// certificate of which secure demands one, or by both.
func authorizeAccess(config Config, getenv func(string) string, log *slog.Logger) (secret func() string, secure *tls.Config, err error) {
	if config.AuthorizeClientCA != "" {
		if secure, err = certificates(config, log); err != nil {
			return nil, nil, err
		}
		if err := demandCertificates(secure, config.AuthorizeClientCA, log); err != nil {
			return nil, nil, err
		}
		if getenv(authorizeSecret) == "" && getenv(authorizeSecret+"_FILE") == "" {
			return nil, secure, nil
		}
	}
	shown, err := upstream.NewSecret(authorizeSecret, getenv)
	if err != nil {
		return nil, nil, fmt.Errorf("api: -authorize-listen: %w", err)
	}
	return shown.Value, secure, nil
}

// authorizeTimeout is how long questions may take to be answered at the end of the program.
const authorizeTimeout = 5 * time.Second
