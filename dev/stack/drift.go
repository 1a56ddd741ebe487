package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"keycloak-model-api/config"
	"keycloak-model-api/internal/drift"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// errDrift is the end of a drift that found something, which is printed already.
var errDrift = errors.New("stack: the realm is not what the stack declares")

// drift compares the live realm with the declared one. It only reads.
func (p *program) drift(ctx context.Context) error {
	c, err := p.config()
	if err != nil {
		return err
	}
	dev := c.Values[c.Project+":environment"] == "dev" // which makes up secrets that are missing
	result, admin, err := p.declareFor(ctx, c)
	if err != nil {
		return err
	}
	realms, err := render.Build(result.Resources)
	if err != nil {
		return err
	}
	own := p.getenv("KEYCLOAK_REALM")
	drifted := false
	for _, realm := range realms {
		state := drift.Live{MadeUp: dev}
		if own == realm.Name {
			state.Own = p.getenv("KEYCLOAK_CLIENT_ID")
		}
		state.Realm, err = admin.Read(ctx, realm.Name)
		if keycloak.IsStatus(err, http.StatusNotFound) {
			renamed, err := p.missingRealm(ctx, admin, c.Project, realm.Name)
			if err != nil {
				return readable(err, realm.Name)
			}
			drifted = drifted || renamed
			continue
		} else if err != nil {
			return readable(err, realm.Name)
		}
		if state.Users, err = readUsers(ctx, admin, realm.Name, drift.Usernames(result.Resources)); err != nil {
			return readable(err, realm.Name)
		}
		report, err := drift.Find(realm, result.Resources, state)
		if err != nil {
			return err
		}
		write := report.WriteText
		if p.json {
			write = report.WriteJSON
		}
		if err := write(p.stdout); err != nil {
			return err
		}
		drifted = drifted || report.Drifted()
	}
	if drifted {
		return errDrift
	}
	return nil
}

// declareFor runs the program for a Keycloak that runs.
func (p *program) declareFor(ctx context.Context, c *monitor.Config) (*monitor.Result, *keycloak.Admin, error) {
	live, err := p.liveURL(c)
	if err != nil {
		return nil, nil, err
	}
	c.Values[urlKey] = cmp.Or(c.Values[urlKey], live)
	result, err := p.run(ctx, c, withoutKeycloak(p.environ))
	return result, p.admin(live), err
}

// liveURL is the Keycloak that is named on the command line, otherwise the stack's own
// as the provider would find it.
func (p *program) liveURL(c *monitor.Config) (string, error) {
	url := cmp.Or(p.keycloakURL, keycloakURL(c.Values[urlKey], c.Values[basePathKey]), p.getenv("KEYCLOAK_URL"))
	if url == "" {
		return "", errors.New("stack: no Keycloak is named: give -keycloak URL, set keycloak:url in the stack, or KEYCLOAK_URL")
	}
	return url, nil
}

// keycloakURL is the URL of the provider's configuration.
func keycloakURL(url, basePath string) string {
	return strings.TrimRight(url, "/") + basePath
}

// readUsers reads those users, eight at a time.
func readUsers(ctx context.Context, admin *keycloak.Admin, realm string, usernames []string) (map[string]map[string]any, error) {
	found := make([]map[string]any, len(usernames))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, name := range usernames {
		g.Go(func() (err error) {
			found[i], err = admin.ReadUser(ctx, realm, name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	users := map[string]map[string]any{}
	for i, name := range usernames {
		users[name] = found[i]
	}
	return users, nil
}

// missingRealm says what it means that the declared realm is not there: a first up, or
// another name for one that the stack made before.
func (p *program) missingRealm(ctx context.Context, admin *keycloak.Admin, project, name string) (renamed bool, err error) {
	realms, err := admin.Realms(ctx)
	if err != nil {
		return false, err
	}
	stack := project + "/" + p.stack
	for _, other := range slices.Sorted(maps.Keys(realms)) {
		if realms[other][config.StackAttribute] != stack {
			continue
		}
		fmt.Fprintf(p.stdout, "Realm %s does not exist, and realm %s was made by this stack. If the stack's key realm was changed, the "+
			"next up makes\n"+
			"an empty realm, and deletes %[2]s with its users, keys and sessions unless it is protected. docs/drift.md says how to "+
			"move.\n", name, other)
		renamed = true
	}
	if !renamed {
		fmt.Fprintf(p.stderr, "Realm %s does not exist: the next up makes it.\n", name)
	}
	return renamed, nil
}

// readable names the roles that an account lacks.
func readable(err error, realm string) error {
	if keycloak.IsStatus(err, http.StatusForbidden) || keycloak.IsStatus(err, http.StatusUnauthorized) {
		return fmt.Errorf("%w\nreading it needs the roles %s of client realm-management in realm %s, or of client %[3]s-realm in realm "+
			"master: docs/drift.md",
			err, strings.Join(keycloak.ReadRoles, ", "), realm)
	}
	return err
}

// exitCode is 1 for a realm that drifted, and 2 for a drift that could not be told.
func exitCode(do string, err error) int {
	if do == "drift" && !errors.Is(err, errDrift) {
		return 2
	}
	return 1
}
