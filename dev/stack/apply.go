package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/oauth2"

	"keycloak-model-api/config"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// apply runs the program, writes its outputs, and makes its realm in Keycloak
// once standard input ends, which says that Keycloak is ready. The account for
// that is in the variables by which the Keycloak provider knows it.
func (p *program) apply(ctx context.Context, keycloakReady io.Reader) error {
	d, err := p.declareHere(ctx)
	if err != nil {
		return err
	}
	outputs, err := d.result.OutputsJSON(true)
	if err != nil {
		return err
	}
	digest, err := d.digest() // while Keycloak boots
	if err != nil {
		return err
	}
	if err := untilEnd(ctx, keycloakReady); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	prepared, err := p.takePrepared(ctx, d.realms, digest)
	if err != nil {
		return err
	}
	if !prepared {
		if err := p.makeRealms(ctx, d); err != nil {
			return err
		}
	}
	if err := writeFile(filepath.Join(p.state, "stack.json"), outputs); err != nil {
		return err
	}
	return p.example(d.config, d.result)
}

// declaration is what the program declares for the Keycloak at hand.
type declaration struct {
	config *monitor.Config
	result *monitor.Result
	realms []*render.Realm
}

func (p *program) declareHere(ctx context.Context) (*declaration, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	p.localize(c)
	result, err := p.run(ctx, c, withoutKeycloak(p.environ))
	if err != nil {
		return nil, err
	}
	realms, err := render.Build(result.Resources)
	if err != nil {
		return nil, err
	}
	return &declaration{c, result, realms}, nil
}

func (p *program) makeRealms(ctx context.Context, d *declaration) error {
	admin := keycloak.NewAdmin(p.keycloakURL, keycloak.Credentials{
		Realm:        p.getenv("KEYCLOAK_REALM"),
		ClientID:     p.getenv("KEYCLOAK_CLIENT_ID"),
		ClientSecret: p.getenv("KEYCLOAK_CLIENT_SECRET"),
		Username:     p.getenv("KEYCLOAK_USER"),
		Password:     p.getenv("KEYCLOAK_PASSWORD"),
	})
	for _, realm := range d.realms {
		err := realm.Apply(ctx, admin)
		if _, refused := errors.AsType[*oauth2.RetrieveError](err); refused && p.local {
			return fmt.Errorf("%w\nits database is another admin's: delete the folder %s and start again", err, p.data())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// untilEnd returns at the end of r or of ctx.
func untilEnd(ctx context.Context, r io.Reader) error {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, r)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withoutKeycloak leaves out what the provider reads from the environment: the
// program must not take it for the Keycloak that gets the realm.
func withoutKeycloak(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		return strings.HasPrefix(entry, "KEYCLOAK_")
	})
}

// example prints, as JSON, who can get a token and call a model by what the
// stack declares. The secrets for that go to a file that curl reads, so that no
// screen and no list of processes shows them.
func (p *program) example(c *monitor.Config, result *monitor.Result) error {
	output := func(name string) string {
		value, ok := result.Outputs[resource.PropertyKey(name)]
		if !ok {
			return ""
		}
		text, _ := monitor.Plain(value).(string)
		return text
	}
	e := struct {
		Realm    string `json:"realm"`
		Issuer   string `json:"issuer"`
		ClientID string `json:"client_id"`
		Username string `json:"username"` // empty if nobody can by a password
		Model    string `json:"model"`
		Embedded string `json:"embedded"`
	}{Realm: output("realm_name"), Issuer: output("issuer"), ClientID: output("client_id")}

	d := declaredIn(c)
	passwords, err := c.Object("initialPasswords")
	if err != nil {
		return err
	}
	api := slices.IndexFunc(d.clients, func(x config.Client) bool { return x.ClientID == e.ClientID })
	if api >= 0 && *d.clients[api].DirectAccessGrants {
		for _, u := range d.users {
			// Keycloak refuses the password grant to a user who has something left
			// to do.
			if u.Password == "permanent" && len(u.RequiredActions) == 0 && passwords[u.Username] != "" {
				e.Username = cmp.Or(e.Username, u.Username)
			}
		}
	}
	if len(d.models) > 0 {
		e.Model, e.Embedded = d.models[0].Name, d.models[0].Embedded
	}
	form := url.Values{"client_secret": {output("client_secret")}, "password": {passwords[e.Username]}}
	if err := writeFile(filepath.Join(p.state, "curl-secrets"), []byte(form.Encode())); err != nil {
		return err
	}
	return json.NewEncoder(p.stdout).Encode(e)
}
