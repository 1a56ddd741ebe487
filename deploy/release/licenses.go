package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// accepted are the licenses, by their SPDX identifiers, under which a module may be
// part of a release: they ask for no more than their text beside the program, or,
// for MPL-2.0, for the source of the module itself, which is public.
func accepted() []string {
	return []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "Unlicense", "Zlib"}
}

// module is a module that a release holds, with where its files are.
type module struct{ Path, Version, Dir string }

// writeLicenses writes LICENSES.txt: the license of each module that a program of the
// release holds. A module with none that is known, or with one that is not accepted,
// is an error; all such modules are named at once.
func writeLicenses(ctx context.Context, dir string, built []binary) error {
	modules, err := modulesOf(ctx, dir, built)
	if err != nil {
		return err
	}
	known, err := assets.DefaultClassifier()
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	var text strings.Builder
	var errs []error
	for _, m := range modules {
		names, texts, err := licensesIn(known, m.Dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("release: %s %s: %w", m.Path, m.Version, err))
		}
		fmt.Fprintf(&text, "=== %s %s: %s\n\n%s\n\n", m.Path, m.Version, strings.Join(names, ", "), strings.TrimSpace(texts))
	}
	errs = append(errs, os.WriteFile(filepath.Join(dir, "LICENSES.txt"), []byte(text.String()), 0o644))
	return errors.Join(errs...)
}

// modulesOf returns the modules of all programs, in order of their paths, with Go's
// own library first.
func modulesOf(ctx context.Context, dir string, built []binary) ([]module, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}\t{{.Dir}}", "all")
	cmd.Dir = ".."
	list, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("release: go list: %w", err)
	}
	dirs := map[string]string{}
	for line := range strings.Lines(string(list)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[path] = dir
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("release: go env: %w", err)
	}
	modules := []module{{"std", runtime.Version(), strings.TrimSpace(string(root))}}
	for _, b := range built {
		info, err := buildinfo.ReadFile(filepath.Join(dir, b.File))
		if err != nil {
			return nil, fmt.Errorf("release: %w", err)
		}
		for _, dep := range info.Deps {
			m := module{dep.Path, dep.Version, dirs[dep.Path]}
			if !slices.Contains(modules, m) {
				modules = append(modules, m)
			}
		}
	}
	slices.SortFunc(modules[1:], func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return modules, nil
}

// licensesIn returns the licenses of the module in dir and their texts.
func licensesIn(known *classifier.Classifier, dir string) (names []string, texts string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", err
	}
	for _, entry := range entries {
		upper := strings.ToUpper(entry.Name())
		if !strings.HasPrefix(upper, "LICENSE") && !strings.HasPrefix(upper, "LICENCE") && !strings.HasPrefix(upper, "COPYING") || entry.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, "", err
		}
		texts += string(content) + "\n"
		for _, match := range known.Match(content).Matches {
			if match.MatchType == "License" && !slices.Contains(names, match.Name) {
				names = append(names, match.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil, texts, errors.New("no license is known in its files: see which it has, and whether it may be used")
	}
	for _, name := range names {
		if !slices.Contains(accepted(), name) {
			err = errors.Join(err, fmt.Errorf("%s is not among the accepted licenses (%s)", name, strings.Join(accepted(), ", ")))
		}
	}
	return names, texts, err
}
