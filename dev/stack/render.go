package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// program is the stack's program with its configuration.
type program struct {
	options
	getenv         func(string) string
	environ        []string
	stdout, stderr io.Writer
}

// defaultURL is the Keycloak of a stack that names none, where none is needed.
const defaultURL = "http://127.0.0.1:8080"

// declare runs the program as pulumi preview would.
func (p *program) declare(ctx context.Context) (*monitor.Result, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	if c.Values[urlKey] == "" {
		c.Values[urlKey] = cmp.Or(p.getenv("KEYCLOAK_URL"), defaultURL)
	}
	return p.run(ctx, c, p.environ)
}

func (p *program) run(ctx context.Context, c *monitor.Config, environ []string) (*monitor.Result, error) {
	result, err := render.Run(ctx, monitor.Program{
		Binary: p.program, Dir: p.dir, Env: environ, Config: c, Log: p.stderr,
	})
	return result, err
}

// importFile prints the realm as one file for Keycloak's --import-realm. Unless
// secrets are asked for they are masked, and Keycloak refuses the file.
func (p *program) importFile(ctx context.Context) error {
	realm, err := p.onlyRealm(ctx)
	if err != nil {
		return err
	}
	file := realm.MaskedFile
	if p.showSecrets {
		file = realm.ImportFile
	}
	text, err := file()
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(text)
	return err
}

// preview prints the tree of resources and the policy.
func (p *program) preview(ctx context.Context) error {
	result, err := p.declare(ctx)
	if err != nil {
		return err
	}
	if _, err := render.Build(result.Resources); err != nil {
		return err
	}
	return render.Preview(p.stdout, result)
}

// diff prints what would change against an export of the realm.
func (p *program) diff(ctx context.Context) error {
	export, err := os.ReadFile(p.export)
	if err != nil {
		return fmt.Errorf("stack: -diff: %w", err)
	}
	realm, err := p.onlyRealm(ctx)
	if err != nil {
		return err
	}
	n, err := render.WriteDiff(p.stdout, realm, export, p.color)
	if err == nil && n == 0 {
		fmt.Fprintf(p.stderr, "The export of realm %s is what the stack declares.\n", realm.Name)
	}
	return err
}

// onlyRealm returns the one realm that the program declares.
func (p *program) onlyRealm(ctx context.Context) (*render.Realm, error) {
	result, err := p.declare(ctx)
	if err != nil {
		return nil, err
	}
	realms, err := render.Build(result.Resources)
	if err != nil {
		return nil, err
	}
	if len(realms) != 1 {
		return nil, fmt.Errorf("stack: the program declares %d realms, and a file holds one", len(realms))
	}
	return realms[0], nil
}
