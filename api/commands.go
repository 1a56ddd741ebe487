package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"keycloak-model-api/api/contract"
	"keycloak-model-api/api/doctor"
	"keycloak-model-api/api/explain"
	"keycloak-model-api/internal/cli"
	"keycloak-model-api/internal/local"
)

const doctorDetails = `Compares the live realm, as a client sees it, with the stack's outputs and the
access policy: discovery, keys, real tokens, sign-in and sign-out. Each finding
that is not ok says which setting to change. It asks for two tokens and starts
sign-ins that it never finishes; it changes nothing.

Where a model asks how its callers signed in, it also reads the scopes of clients,
with the account that the environment names as for go run ./api access; that needs
view-clients of the realm.

Exit status: 0 no failure, 1 a failure, 2 wrong usage. Warnings don't count.`

// doctor is the command of that name.
func (e environment) doctor() *command {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	var o doctor.Options
	stack := flags.String("stack", defaultStack, "File with the stack's outputs, with their secrets.")
	flags.StringVar(&o.InternalURL, "issuer-internal-url", "", "URL of the issuer as this computer reaches it.")
	flags.StringVar(&o.PublicURL, "public-url", local.API(), "URL of the API as its callers see it: sign-in and sign-out lead back there.")
	flags.DurationVar(&o.Skew, "clock-skew", 30*time.Second, "How far the clocks of the issuer and the API may differ.")
	redis := flags.String("redis", "", "Redis that the API's replicas share. Its password is API_REDIS_PASSWORD, or in the file "+
		"API_REDIS_PASSWORD_FILE.")
	redisKeys := flags.String("redis-keys", "", "File with the keys that seal the records in Redis.")
	asJSON := flags.Bool("json", false, "Print the findings as a JSON array.")
	return &command{cli.Command{Name: "doctor", Summary: "What is wrong with the realm.", Details: doctorDetails, Flags: flags},
		func(ctx context.Context) error {
			var err error
			o.Outputs, err = readStack(*stack)
			if err := errors.Join(err, checkInternalURL(o.InternalURL), checkPublicURL(o.PublicURL), checkClockSkew(o.Skew),
				checkRedisFlag(*redis)); err != nil {
				return &usageError{err}
			}
			if base, _, ok := strings.Cut(cmp.Or(o.InternalURL, o.Outputs.Issuer), "/realms/"); ok {
				o.Admin = adminOf(base, e.getenv)
			}
			if o.Store, err = newStore(*redis, *redisKeys, o.Outputs.Issuer, e.getenv, slog.New(slog.DiscardHandler)); err != nil {
				return &usageError{err}
			} else if o.Store != nil {
				defer o.Store.Close()
			}
			findings, err := doctor.Examine(ctx, o)
			if err != nil {
				return &usageError{err}
			}
			return doctor.Print(e.stdout, findings, *asJSON)
		}}
}

const explainDetails = `Makes each check of an access token that the API makes, and says what it
expected, what it found, and which setting would change that. The token comes
from standard input or a file, never from the command line. Its signature is
not printed. Exit status: 0 accepted, 1 refused, 2 wrong usage.`

// explain is the command of that name.
func (e environment) explain() *command {
	flags := flag.NewFlagSet("explain", flag.ContinueOnError)
	var o explain.Options
	tokenFile := flags.String("token-file", "-", "File with the token; - is standard input.")
	keys := flags.String("jwks", "", "File with the issuer's keys (its jwks_uri), to explain without a server.")
	stack := flags.String("stack", defaultStack, "File with the stack's outputs.")
	flags.StringVar(&o.Model, "model", "", "Model to ask for: its roles are checked too.")
	flags.StringVar(&o.InternalURL, "issuer-internal-url", "", "URL of the issuer as this computer reaches it.")
	flags.DurationVar(&o.Skew, "clock-skew", 30*time.Second, "How far the clocks may differ.")
	return &command{cli.Command{Name: "explain", Summary: "Why a token is refused.", Details: explainDetails, Flags: flags},
		func(ctx context.Context) error {
			var err error
			o.Outputs, err = readStack(*stack)
			if err := errors.Join(err, checkInternalURL(o.InternalURL), checkClockSkew(o.Skew)); err != nil {
				return &usageError{err}
			}
			if *keys != "" {
				if o.Keys, err = os.ReadFile(*keys); err != nil {
					return &usageError{fmt.Errorf("api: explain: -jwks: %w", err)}
				}
			}
			token, err := readToken(*tokenFile, e.stdin)
			if err != nil {
				return &usageError{err}
			}
			steps, err := explain.Steps(ctx, o, token)
			if err != nil {
				return &usageError{err}
			}
			return explain.Print(e.stdout, steps)
		}}
}

const contractDetails = `Tries attacks on a running resource server, this API or another gateway, and
prints what each got: one request a case, none of them with a key of the
issuer. The good token that the forgeries are made from is that of a client of
the realm (its secret in the environment variable CONTRACT_CLIENT_SECRET), or
the one in -token-file. Exit status: 0 all passed, 1 a case failed or none
could be tried, 2 wrong usage.`

// contract is the command of that name.
func (e environment) contract() *command {
	flags := flag.NewFlagSet("contract", flag.ContinueOnError)
	var target contract.Target
	flags.StringVar(&target.URL, "url", "", "URL of a protected resource, such as http://127.0.0.1:8000/v2.")
	flags.StringVar(&target.Method, "method", "GET", "Method of the requests.")
	flags.StringVar(&target.Body, "body", "", "Body of the requests.")
	flags.StringVar(&target.ContentType, "content-type", "application/json", "Media type of -body.")
	flags.DurationVar(&target.Timeout, "timeout", 10*time.Second, "Longest time for one request.")
	stackFile := flags.String("stack", defaultStack, "File with the stack's outputs: issuer, audience, and the resource server's client.")
	internal := flags.String("issuer-internal-url", "", "URL of the issuer as this computer reaches it.")
	clientID := flags.String("client-id", "", "Confidential client whose service account may call the resource.")
	tokenFile := flags.String("token-file", "", "File with a good access token, instead of -client-id; - is standard input.")
	return &command{cli.Command{Name: "contract", Summary: "Try attacks on a running deployment.", Details: contractDetails,
		Flags: flags}, func(ctx context.Context) error {
		secret := e.getenv("CONTRACT_CLIENT_SECRET")
		switch {
		case target.URL == "":
			return &usageError{errors.New("api: contract: -url is missing: give the URL of a protected resource")}
		case !strings.HasPrefix(target.URL, "http://") && !strings.HasPrefix(target.URL, "https://"):
			return &usageError{fmt.Errorf("api: contract: -url: %q is not a URL such as http://127.0.0.1:8000/v2", target.URL)}
		case target.Timeout <= 0:
			return &usageError{fmt.Errorf("api: contract: -timeout: %v is not a time to wait: use one such as 10s", target.Timeout)}
		case (*clientID == "") == (*tokenFile == ""):
			return &usageError{errors.New("api: contract: give either -client-id or -token-file")}
		case *clientID != "" && secret == "":
			return &usageError{fmt.Errorf("api: contract: set CONTRACT_CLIENT_SECRET to the secret of client %s", *clientID)}
		}
		stack, err := readStack(*stackFile)
		if err := errors.Join(err, checkInternalURL(*internal)); err != nil {
			return &usageError{err}
		}
		if *tokenFile != "" {
			if target.Token, err = readToken(*tokenFile, e.stdin); err != nil {
				return &usageError{err}
			}
		}
		if err := target.Ask(ctx, stack, *internal, contract.Client{ID: *clientID, Secret: secret}); err != nil {
			return err
		}
		results, err := contract.Run(ctx, target)
		if passed := contract.Print(e.stdout, results); err == nil && !passed {
			err = errors.New("api: contract: not all cases passed")
		}
		return err
	}}
}

// defaultStack is where make up writes the stack's outputs.
const defaultStack = ".dev/stack.json"

// maxTokenFile is more than any token that the API reads.
const maxTokenFile = 1 << 20

// readToken returns what a file holds, or standard input if its name is "-".
func readToken(name string, stdin io.Reader) (string, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("api: -token-file: %w", err)
		}
		defer file.Close()
		stdin = file
	}
	content, err := io.ReadAll(io.LimitReader(stdin, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("api: token: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" && name != "-" {
		return "", fmt.Errorf("api: -token-file: %s is empty", name)
	} else if token == "" {
		return "", errors.New("api: no token on standard input: pipe one in, such as from modelctl token")
	}
	return token, nil
}
