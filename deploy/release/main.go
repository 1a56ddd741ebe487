// Command release builds what is published of a version: the static programs for
// each system, their checksums, a bill of materials for each, and the API as a
// container image in an OCI layout. The same commit gives the same bytes.
//
//	go run -C deploy ./release -out ../dist
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is the whole program, called in a directory of the module deploy.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	out := flags.String("out", "../dist", "directory for the files; it is made anew")
	only := flags.String("targets", strings.Join(targets(), ","), "systems to build for, as GOOS/GOARCH, separated by commas")
	verify := flags.Bool("verify", false, "build everything a second time with an empty cache and compare")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	list := strings.Split(*only, ",")
	for _, t := range list {
		if !slices.Contains(targets(), t) {
			return fmt.Errorf("release: %q is none of the targets %s", t, strings.Join(targets(), ", "))
		}
	}
	built, err := build(ctx, *out, list, os.Environ())
	if err != nil {
		return err
	}
	if *verify {
		if err := sameBytes(ctx, *out, list, built); err != nil {
			return err
		}
		fmt.Fprintln(stdout, "A second build with an empty cache gave the same bytes.")
	}
	if err := describe(*out, built); err != nil {
		return err
	}
	if err := writeLicenses(ctx, *out, built); err != nil {
		return err
	}
	if err := writeImage(filepath.Join(*out, "image"), *out, built); err != nil {
		return err
	}
	return writeSums(*out, stdout)
}

// programs are the directories of what is published, by the name of the file.
func programs() map[string]string {
	return map[string]string{"model-api": "./api", "modelctl": "./modelctl"}
}

// targets are the systems that binaries are built for.
func targets() []string {
	return []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}
}

// binary is one program for one system.
type binary struct {
	Program, OS, Arch string
	File              string // its name in the directory
}

// build makes dir anew and builds every program for each target into it.
func build(ctx context.Context, dir string, targets, environ []string) ([]binary, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("release: %w", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("release: %w", err)
	}
	var built []binary
	for _, target := range targets {
		system, arch, _ := strings.Cut(target, "/")
		for _, program := range []string{"model-api", "modelctl"} {
			b := binary{Program: program, OS: system, Arch: arch, File: program + "_" + system + "_" + arch}
			if system == "windows" {
				b.File += ".exe"
			}
			// -buildvcs stamps version and commit, which `version` prints.
			cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w",
				"-o", filepath.Join(dir, b.File), programs()[program])
			cmd.Dir = ".."
			cmd.Env = append(slices.Clone(environ), "GOFLAGS=", "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
			if output, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("release: %s for %s: %w\n%s", program, target, err, output)
			}
			built = append(built, b)
		}
	}
	return built, nil
}

// sameBytes builds again with an empty cache and compares.
func sameBytes(ctx context.Context, dir string, targets []string, built []binary) error {
	again, err := os.MkdirTemp("", "release")
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	defer os.RemoveAll(again)
	second := filepath.Join(again, "dist")
	if _, err := build(ctx, second, targets, append(os.Environ(), "GOCACHE="+filepath.Join(again, "cache"))); err != nil {
		return err
	}
	var errs []error
	for _, b := range built {
		one, err := sum(filepath.Join(dir, b.File))
		errs = append(errs, err)
		two, err := sum(filepath.Join(second, b.File))
		errs = append(errs, err)
		if one != two {
			errs = append(errs, fmt.Errorf("release: %s: the second build gave other bytes", b.File))
		}
	}
	return errors.Join(errs...)
}

// writeSums writes SHA256SUMS over all files of dir, as sha256sum -c reads it.
func writeSums(dir string, stdout io.Writer) error {
	var lines strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		digest, err := sum(path)
		fmt.Fprintf(&lines, "%s  %s\n", digest, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(lines.String()), 0o644); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	_, err = io.WriteString(stdout, lines.String())
	return err
}

// sum returns the SHA-256 of a file in hex.
func sum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("release: %w", err)
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("release: %w", err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
