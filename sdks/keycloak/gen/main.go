// Command gen writes the Go packages of this SDK from resources.txt, in the
// shapes that Pulumi's own generator gives a provider's SDK, so that a program
// cannot tell the two apart.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

//go:generate go run . -module ..

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("gen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	module := flags.String("module", ".", "`folder` of the SDK's go.mod and resources.txt")
	if err := flags.Parse(args); err != nil {
		return err
	}
	table, err := os.ReadFile(filepath.Join(*module, "resources.txt"))
	if err != nil {
		return fmt.Errorf("gen: %w", err)
	}
	blocks, err := parse(string(table))
	if err != nil {
		return fmt.Errorf("gen: resources.txt: %w", err)
	}
	files, err := generate(blocks)
	if err != nil {
		return fmt.Errorf("gen: %w", err)
	}
	for name, text := range files {
		name = filepath.Join(*module, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("gen: %w", err)
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return fmt.Errorf("gen: %w", err)
		}
	}
	return nil
}
