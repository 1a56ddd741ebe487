package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"keycloak-model-api/api/access"
	"keycloak-model-api/internal/cli"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/policy"
)

const accessDetails = `Says who may call what, for an access review: users, service accounts and groups
of a realm, the models that each may call, and why. A group stands for whoever is
a member and nothing more. With -for it says of one user what it may call and
what it may not.

The realm is the live one, read by the Admin REST API with the account that the
environment names: KEYCLOAK_CLIENT_ID and KEYCLOAK_CLIENT_SECRET, or KEYCLOAK_USER
and KEYCLOAK_PASSWORD, of the realm master or KEYCLOAK_REALM; it needs view-realm,
view-clients, view-users and view-identity-providers. Or it is a file: go run
./dev render | go run ./api access -realm - is what the stack's configuration
says. Nothing is changed.

Exit status: 0 done, 1 a failure, such as no such user, 2 wrong usage.`

// access is the command of that name.
func (e environment) access() *command {
	flags := flag.NewFlagSet("access", flag.ContinueOnError)
	stackFile := flags.String("stack", defaultStack, "File with the stack's outputs.")
	realmFile := flags.String("realm", "", "File with the realm, as go run ./dev render prints it; - is standard input. Default: the "+
		"live realm.")
	server := flags.String("keycloak", "", "URL of Keycloak as this computer reaches it. Default: that of the issuer.")
	format := flags.String("format", "table", "table, csv or markdown.")
	user := flags.String("for", "", "Explain this user, by its username.")
	return &command{cli.Command{Name: "access", Summary: "Who may call what.", Details: accessDetails, Flags: flags},
		func(ctx context.Context) error {
			var wrong []error
			if !slices.Contains(access.Formats(), *format) {
				wrong = append(wrong, fmt.Errorf("api: access: -format: %q is none of %s", *format, strings.Join(access.Formats(), ", ")))
			}
			stack, err := readStack(*stackFile)
			if err := errors.Join(append(wrong, err, checkURL("keycloak", *server, "http://keycloak:8080"))...); err != nil {
				return &usageError{err}
			}
			realm, err := reviewedRealm(ctx, stack, *realmFile, *server, e.getenv, e.stdin)
			if err != nil {
				return err
			}
			if *user != "" {
				rows, ok := access.Explain(stack.Policy, realm, *user)
				if !ok {
					return fmt.Errorf("api: access: there is no user %q in the realm %s", *user, stack.RealmName)
				}
				return access.Write(e.stdout, *format, rows)
			}
			rows := slices.DeleteFunc(access.Review(stack.Policy, realm), func(r access.Row) bool { return !r.Allowed })
			return access.Write(e.stdout, *format, rows)
		}}
}

// reviewedRealm reads the realm from a file, or the live one if there is none.
func reviewedRealm(ctx context.Context, stack *policy.Outputs, file, server string, getenv func(string) string,
	stdin io.Reader) (*access.Realm, error) {
	switch file {
	case "":
	case "-":
		return access.ReadRealm(stdin)
	default:
		content, err := os.Open(file)
		if err != nil {
			return nil, &usageError{fmt.Errorf("api: access: -realm: %w", err)}
		}
		defer content.Close()
		return access.ReadRealm(content)
	}
	base, _, ok := strings.Cut(stack.Issuer, "/realms/")
	if server != "" {
		base = server
	} else if !ok {
		return nil, &usageError{fmt.Errorf("api: access: the issuer %s is not below /realms: give -keycloak", stack.Issuer)}
	}
	admin := adminOf(base, getenv)
	if admin == nil {
		return nil, &usageError{errors.New("api: access: the live realm needs an account: set KEYCLOAK_USER and KEYCLOAK_PASSWORD, or " +
			"KEYCLOAK_CLIENT_ID and KEYCLOAK_CLIENT_SECRET; or give a file by -realm")}
	}
	return access.Fetch(ctx, admin, stack.RealmName, stack.Policy)
}

// adminOf is the Keycloak at base with the account of the environment, nil without one.
func adminOf(base string, getenv func(string) string) *keycloak.Admin {
	if getenv("KEYCLOAK_USER") == "" && getenv("KEYCLOAK_CLIENT_ID") == "" {
		return nil
	}
	return keycloak.NewAdmin(base, keycloak.Credentials{
		Realm: getenv("KEYCLOAK_REALM"), ClientID: getenv("KEYCLOAK_CLIENT_ID"), ClientSecret: getenv("KEYCLOAK_CLIENT_SECRET"),
		Username: getenv("KEYCLOAK_USER"), Password: getenv("KEYCLOAK_PASSWORD"),
	})
}
