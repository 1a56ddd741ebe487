package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"keycloak-model-api/internal/adopt"
)

// adopt prints the commands that take what the export has into the stack's state:
// one for each object, or one for the import file that it writes.
func (p *program) adopt(ctx context.Context) error {
	export, err := os.ReadFile(p.export)
	if err != nil {
		return fmt.Errorf("stack: adopt: %w", err)
	}
	result, err := p.declare(ctx)
	if err != nil {
		return err
	}
	found, err := adopt.Find(result.Resources, export)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "%d objects are in the export; the next up makes %d\n", len(found.Found), len(found.Missing))
	for _, r := range found.Missing {
		fmt.Fprintf(p.stderr, "  not there: %s %s\n", r.Type, r.Name)
	}
	if p.file == "" {
		return adopt.WriteLines(p.stdout, found.Found)
	}
	var text bytes.Buffer
	if err := adopt.WriteFile(&text, result.Resources, found.Found); err != nil {
		return err
	}
	if err := os.WriteFile(p.file, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("stack: adopt: %w", err)
	}
	_, err = fmt.Fprintf(p.stdout, "pulumi import --file %s --generate-code=false --yes\n", p.file)
	return err
}
