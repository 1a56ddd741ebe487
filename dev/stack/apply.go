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

	"keycloak-model-api/api/gateway"
	"keycloak-model-api/config"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
	"keycloak-model-api/policy"
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
	if err := checkModels(outputs, p.getenv); err != nil {
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

// checkModels finds what the API would refuse to start with: better now than after
// Keycloak's boot. A program that exports no policy has no API to start.
func checkModels(outputs []byte, getenv func(string) string) error {
	o, err := policy.ParseOutputs(outputs)
	if err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	if err := gateway.CheckModels(o.Policy, getenv); err != nil {
		return fmt.Errorf("stack: the API would not start with these models:\n%w", err)
	}
	return nil
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

// admin is the Keycloak at url with the account of the environment.
func (p *program) admin(url string) *keycloak.Admin {
	return keycloak.NewAdmin(url, keycloak.Credentials{
		Realm:        p.getenv("KEYCLOAK_REALM"),
		ClientID:     p.getenv("KEYCLOAK_CLIENT_ID"),
		ClientSecret: p.getenv("KEYCLOAK_CLIENT_SECRET"),
		Username:     p.getenv("KEYCLOAK_USER"),
		Password:     p.getenv("KEYCLOAK_PASSWORD"),
	})
}

func (p *program) makeRealms(ctx context.Context, d *declaration) error {
	admin := p.admin(p.keycloakURL)
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
	e := example{Realm: output("realm_name"), Issuer: output("issuer"), ClientID: output("client_id")}
	passwords, err := c.Object("initialPasswords")
	if err != nil {
		return err
	}
	clientSecrets, err := c.Object("clientSecrets")
	if err != nil {
		return err
	}
	d := declaredIn(c, p.dir)
	e.grant(d, passwords)
	for _, u := range d.users {
		if passwords[u.Username] != "" {
			e.Users = append(e.Users, u.Username)
		}
	}
	if i := slices.IndexFunc(d.clients, func(x config.Client) bool { return x.Kind == "cli" }); i >= 0 {
		e.CLI = d.clients[i].ClientID
	}
	if len(d.models) > 0 {
		e.Model, e.Embedded = d.models[0].Name, d.models[0].Embedded
	}
	form := url.Values{"client_secret": {cmp.Or(clientSecrets[e.ClientID], output("client_secret"))}}
	if e.Username != "" {
		form.Set("password", passwords[e.Username])
	}
	if err := writeFile(filepath.Join(p.state, "curl-secrets"), []byte(form.Encode())); err != nil {
		return err
	}
	return json.NewEncoder(p.stdout).Encode(e)
}

// example is what ./dev needs to tell a person what to type next.
type example struct {
	Realm    string   `json:"realm"`
	Issuer   string   `json:"issuer"`
	Grant    string   `json:"grant"` // password, client_credentials, or empty
	ClientID string   `json:"client_id"`
	Username string   `json:"username"`
	CLI      string   `json:"cli"`
	Users    []string `json:"users"`
	Model    string   `json:"model"`
	Embedded string   `json:"embedded"`
}

// grant chooses who gets a token by a command: a user by the API's client, otherwise
// the account of a service that has roles.
func (e *example) grant(d declared, passwords map[string]string) {
	byPassword := slices.ContainsFunc(d.clients, func(c config.Client) bool { return c.ClientID == e.ClientID && *c.DirectAccessGrants })
	for _, u := range d.users {
		// Keycloak refuses the password grant to a user who has something left
		// to do.
		if byPassword && u.Password == "permanent" && len(u.RequiredActions) == 0 && passwords[u.Username] != "" {
			e.Grant, e.Username = "password", u.Username
			return
		}
	}
	for _, c := range d.clients {
		if !c.Public() && *c.ServiceAccount && c.Authentication == "secret" && len(c.ServiceAccountRoles)+len(c.ServiceAccountGroups) > 0 {
			e.Grant, e.ClientID = "client_credentials", c.ClientID
			return
		}
	}
}
