package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/internal/oidctest"
)

// subject is something whose calls are timed in this process.
type subject struct {
	name        string
	call        func() error
	times       []float64 // µs, one for each round
	ratios      []float64 // to the first subject
	allocations float64
}

// compare times all subjects by turns, in rounds of about a millisecond each,
// so that other load on the machine hits all alike.
func compare(ctx context.Context, rounds int, subjects []*subject) error {
	for _, s := range subjects {
		if err := s.call(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		s.allocations = testing.AllocsPerRun(100, func() { _ = s.call() })
	}
	calls := make([]int, len(subjects))
	for i, s := range subjects {
		start, n := time.Now(), 0
		for ; time.Since(start) < time.Millisecond; n++ {
			_ = s.call()
		}
		calls[i] = n
	}
	for range rounds {
		for i, s := range subjects {
			start := time.Now()
			for range calls[i] {
				if err := s.call(); err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
			}
			s.times = append(s.times, micro(time.Since(start))/float64(calls[i]))
			s.ratios = append(s.ratios, s.times[len(s.times)-1]/subjects[0].times[len(s.times)-1])
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// verification measures one check in this process, without HTTP.
func verification(ctx context.Context, o options, _ io.Writer) (report, error) {
	issuer := oidctest.Start()
	defer issuer.Close()
	defer pin(1)()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	r := report{title: "One check"}
	var reached []goal
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		issuer.Key(algorithm)
		signed := issuer.Token(algorithm, oidctest.Claims{"exp": time.Now().Add(time.Hour).Unix()})
		subjects := []*subject{{name: "bare signature", call: bare(issuer.Key(algorithm).Public(), signed)}}
		for _, name := range []string{oursCold, goOIDC, golangJWT, jwx, auth0} {
			s, err := inProcess(ctx, name, issuer.URL, algorithm, signed)
			if err != nil {
				return r, err
			}
			subjects = append(subjects, s)
		}
		if err := compare(ctx, 50*o.rounds, subjects); err != nil {
			return r, err
		}
		s := subjectTable(subjects)
		s.heading = algorithm + ", without a cache"
		s.text = fmt.Sprintf("A token of %d bytes. The bare signature is the verification alone by Go's own crypto, its hash "+
			"included.", len(signed))
		s.chart = &chart{file: "verification-" + strings.ToLower(algorithm) + ".svg", title: "One check, " + algorithm + ", no cache",
			unit: " µs"}
		fastest := 0.0
		for _, x := range subjects {
			s.chart.bars = append(s.chart.bars, bar{x.name, median(x.times), x.name == oursCold})
			if x.name != oursCold && x != subjects[0] && (fastest == 0 || median(x.times) < fastest) {
				fastest = median(x.times)
			}
		}
		r.sections = append(r.sections, s)
		reached = append(reached,
			goal{algorithm + ", cold: of the bare signature", median(subjects[1].ratios), false, 1.25, ""},
			goal{algorithm + ", cold: of the fastest peer", median(subjects[1].times) / fastest, false, 1, ""})
	}

	signed := issuer.Token("RS256", oidctest.Claims{"exp": time.Now().Add(time.Hour).Unix()})
	hashed := []byte(signed)
	subjects := []*subject{{name: "SHA-256 of the token", call: func() error { sha256.Sum256(hashed); return nil }}}
	for _, name := range []string{ours, goOIDCCached} {
		s, err := inProcess(ctx, name, issuer.URL, "RS256", signed)
		if err != nil {
			return r, err
		}
		subjects = append(subjects, s)
	}
	if err := compare(ctx, 50*o.rounds, subjects); err != nil {
		return r, err
	}
	s := subjectTable(subjects)
	s.heading, s.text = "Warm", "The check of a token that was verified before. No cache that is keyed by the whole token can do "+
		"without its hash."
	r.sections = append(r.sections, s)
	reached = append(reached,
		goal{"warm check", median(subjects[1].times), false, 1.3, " µs"},
		goal{"allocations of a warm check", subjects[1].allocations, false, 1, ""})
	r.sections = append(r.sections, goals(reached...))
	return r, nil
}

func subjectTable(subjects []*subject) section {
	s := section{header: []string{"", "µs", "of " + subjects[0].name, "allocations"}}
	for _, x := range subjects {
		s.rows = append(s.rows, []string{x.name, number(median(x.times)), number(median(x.ratios)), number(x.allocations)})
	}
	return s
}

// inProcess is the check of one contender without a server.
func inProcess(ctx context.Context, name, issuer, algorithm, token string) (*subject, error) {
	p, err := contender(ctx, name, issuer, algorithm)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api.example/v2/models/iris", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return &subject{name: name, call: func() error { return p.check(r) }}, nil
}

// bare verifies the signature of a token and does nothing else.
func bare(public crypto.PublicKey, token string) func() error {
	dot := strings.LastIndexByte(token, '.')
	message := []byte(token[:dot])
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		return func() error { return err }
	}
	wrong := fmt.Errorf("the signature is wrong")
	switch key := public.(type) {
	case *rsa.PublicKey:
		return func() error {
			digest := sha256.Sum256(message)
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
		}
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(signature[:len(signature)/2]), new(big.Int).SetBytes(signature[len(signature)/2:])
		return func() error {
			digest := sha256.Sum256(message)
			if !ecdsa.Verify(key, digest[:], r, s) {
				return wrong
			}
			return nil
		}
	case ed25519.PublicKey:
		return func() error {
			if !ed25519.Verify(key, message, signature) {
				return wrong
			}
			return nil
		}
	}
	return func() error { return fmt.Errorf("no bare verification for %T", public) }
}
