package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/jwks"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"

	"keycloak-model-api/api/bearer"
)

// audience of all tokens, and the skew that every contender allows.
const (
	audience = "model-serving-api"
	skew     = 30 * time.Second
)

// The contenders, by the names that tables use.
const (
	unprotected  = "unprotected"
	ours         = "api/bearer"
	oursCold     = "api/bearer, cache off"
	goOIDC       = "go-oidc"
	goOIDCCached = "go-oidc, sharded cache"
	golangJWT    = "golang-jwt"
	jwx          = "jwx"
	auth0        = "auth0 go-jwt-middleware"
)

// protection is one contender, ready. It checks signature, issuer, audience and
// times, and hands the subject and its realm roles on.
type protection struct {
	check   func(*http.Request) error            // nil for the unprotected handler
	protect func(next http.Handler) http.Handler // the contender as middleware
}

// contender makes the protection of that name for tokens of one issuer.
func contender(ctx context.Context, name, issuer, algorithm string) (protection, error) {
	switch name {
	case unprotected:
		return protection{protect: func(next http.Handler) http.Handler { return next }}, nil
	case ours:
		return newBearer(ctx, issuer, 0)
	case oursCold:
		return newBearer(ctx, issuer, -1)
	case goOIDC:
		verify, err := newGoOIDC(ctx, issuer, algorithm)
		return handWritten(verify), err
	case goOIDCCached:
		verify, err := newGoOIDC(ctx, issuer, algorithm)
		return handWritten(cached(verify)), err
	case golangJWT:
		verify, err := newGolangJWT(ctx, issuer, algorithm)
		return handWritten(verify), err
	case jwx:
		verify, err := newJWX(ctx, issuer)
		return handWritten(verify), err
	case auth0:
		return newAuth0(issuer, algorithm)
	}
	return protection{}, fmt.Errorf("no contender %q", name)
}

func newBearer(ctx context.Context, issuer string, cacheEntries int) (protection, error) {
	v, err := bearer.New(ctx, bearer.Config{
		Issuers: []bearer.Issuer{{URL: issuer}}, Audience: audience, Skew: skew,
		CacheEntries: cacheEntries, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return protection{}, err
	}
	for deadline := time.Now().Add(10 * time.Second); v.Ready() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return protection{}, v.Ready()
		}
	}
	return protection{
		check:   func(r *http.Request) error { _, err := v.Check(r); return err },
		protect: func(next http.Handler) http.Handler { return bearerMiddleware(v, next) },
	}, nil
}

// bearerMiddleware lets requests with a valid access token through to next.
func bearerMiddleware(v *bearer.Verifier, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		principal, err := v.Check(r)
		if refused, ok := errors.AsType[*bearer.Error](err); ok {
			v.WriteChallenge(w, refused)
			http.Error(w, refused.Message, refused.Status)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, principal)))
	})
}

// caller is what a hand-written middleware hands on.
type caller struct {
	subject string
	roles   []string
	expiry  time.Time
}

type callerKey struct{}

type verify func(ctx context.Context, token string) (*caller, error)

var errNoToken = errors.New("no bearer token")

// handWritten is the middleware that the documentation of a library without one
// of its own shows.
func handWritten(v verify) protection {
	check := func(r *http.Request) (*caller, error) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return nil, errNoToken
		}
		return v(r.Context(), token)
	}
	return protection{
		check: func(r *http.Request) error { _, err := check(r); return err },
		protect: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := check(r)
				if err != nil {
					http.Error(w, "unauthorized", http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
			})
		},
	}
}

// realmRoles is where Keycloak puts them.
type realmRoles struct {
	RealmAccess struct {
		Roles []string `json:"roles"`
	} `json:"realm_access"`
}

func newGoOIDC(ctx context.Context, issuer, algorithm string) (verify, error) {
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, err
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{algorithm}})
	return func(ctx context.Context, token string) (*caller, error) {
		verified, err := verifier.Verify(ctx, token)
		if err != nil {
			return nil, err
		}
		var claims realmRoles
		if err := verified.Claims(&claims); err != nil {
			return nil, err
		}
		return &caller{verified.Subject, claims.RealmAccess.Roles, verified.Expiry}, nil
	}, nil
}

// cached remembers callers by the SHA-256 of their token in 256 maps, each with
// a lock of its own: the cache that one writes in an afternoon. It has no bound
// and hears of no revocation.
func cached(v verify) verify {
	type shard struct {
		sync.RWMutex
		callers map[[sha256.Size]byte]*caller
	}
	shards := make([]shard, 256)
	for i := range shards {
		shards[i].callers = map[[sha256.Size]byte]*caller{}
	}
	return func(ctx context.Context, token string) (*caller, error) {
		hash := sha256.Sum256([]byte(token))
		s := &shards[binary.LittleEndian.Uint64(hash[:])%uint64(len(shards))]
		s.RLock()
		c, ok := s.callers[hash]
		s.RUnlock()
		if ok && time.Now().Before(c.expiry) {
			return c, nil
		}
		c, err := v(ctx, token)
		if err != nil {
			return nil, err
		}
		s.Lock()
		s.callers[hash] = c
		s.Unlock()
		return c, nil
	}
}

// newGolangJWT has a key function of its own, over keys that are fetched once:
// the module that keyfunc keeps its keys with can't be had here.
func newGolangJWT(ctx context.Context, issuer, algorithm string) (verify, error) {
	address, err := keySetURL(ctx, issuer)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := getJSON(ctx, address, &set); err != nil {
		return nil, err
	}
	keys := map[string]any{}
	for _, key := range set.Keys {
		if key.Use == "sig" {
			keys[key.KeyID] = key.Key
		}
	}
	keyOf := func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		key, ok := keys[id]
		if !ok {
			return nil, errors.New("unknown kid")
		}
		return key, nil
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{algorithm}), jwt.WithIssuer(issuer),
		jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithLeeway(skew))
	return func(_ context.Context, token string) (*caller, error) {
		var claims struct {
			jwt.RegisteredClaims
			realmRoles
		}
		if _, err := parser.ParseWithClaims(token, &claims, keyOf); err != nil {
			return nil, err
		}
		return &caller{claims.Subject, claims.RealmAccess.Roles, claims.ExpiresAt.Time}, nil
	}, nil
}

func newJWX(ctx context.Context, issuer string) (verify, error) {
	address, err := keySetURL(ctx, issuer)
	if err != nil {
		return nil, err
	}
	cache, err := jwk.NewCache(ctx, httprc.NewClient())
	if err != nil {
		return nil, err
	}
	if err := cache.Register(ctx, address); err != nil {
		return nil, err
	}
	set, err := cache.CachedSet(address)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, token string) (*caller, error) {
		verified, err := jwxjwt.Parse([]byte(token), jwxjwt.WithKeySet(set), jwxjwt.WithIssuer(issuer),
			jwxjwt.WithAudience(audience), jwxjwt.WithRequiredClaim("exp"), jwxjwt.WithAcceptableSkew(skew))
		if err != nil {
			return nil, err
		}
		var access map[string]any
		if err := verified.Get("realm_access", &access); err != nil {
			return nil, err
		}
		c := &caller{}
		c.subject, _ = verified.Subject()
		c.expiry, _ = verified.Expiration()
		list, _ := access["roles"].([]any)
		for _, role := range list {
			name, _ := role.(string)
			c.roles = append(c.roles, name)
		}
		return c, nil
	}, nil
}

// Validate makes realmRoles claims of auth0's validator.
func (realmRoles) Validate(context.Context) error { return nil }

func newAuth0(issuer, algorithm string) (protection, error) {
	base, err := url.Parse(issuer)
	if err != nil {
		return protection{}, err
	}
	provider := jwks.NewCachingProvider(base, 5*time.Minute)
	v, err := validator.New(provider.KeyFunc, validator.SignatureAlgorithm(algorithm), issuer, []string{audience},
		validator.WithAllowedClockSkew(skew), validator.WithCustomClaims(func() validator.CustomClaims { return &realmRoles{} }))
	if err != nil {
		return protection{}, err
	}
	middleware := jwtmiddleware.New(v.ValidateToken, jwtmiddleware.WithErrorHandler(
		func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
		}))
	return protection{
		check: func(r *http.Request) error {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok {
				return errNoToken
			}
			_, err := v.ValidateToken(r.Context(), token)
			return err
		},
		protect: middleware.CheckJWT,
	}, nil
}

// keySetURL asks the issuer where its keys are.
func keySetURL(ctx context.Context, issuer string) (string, error) {
	var metadata struct {
		JWKSURI string `json:"jwks_uri"`
	}
	err := getJSON(ctx, issuer+"/.well-known/openid-configuration", &metadata)
	return metadata.JWKSURI, err
}

func getJSON(ctx context.Context, address string, out any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, out)
}
