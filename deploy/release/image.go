package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// program is where the image holds the API, its only file.
const program = "/model-api"

// writeImage writes the image of the API for each Linux of built as an OCI layout,
// which `skopeo copy oci:DIR docker://…` or `crane push DIR …` publish. It says
// what deploy/Dockerfile says; nothing in it has a time.
func writeImage(layoutDir, dir string, built []binary) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range built {
		if b.Program != "model-api" || b.OS != "linux" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, b.File))
		if err != nil {
			return fmt.Errorf("release: %w", err)
		}
		image, err := imageOf(content, b.Arch)
		if err != nil {
			return fmt.Errorf("release: image for %s: %w", b.Arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: b.Arch}},
		})
	}
	if _, err := layout.Write(layoutDir, index); err != nil {
		return fmt.Errorf("release: image: %w", err)
	}
	return nil
}

// imageOf returns an image that holds a program and nothing else.
func imageOf(content []byte, arch string) (v1.Image, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	// Root owns it and nobody may change it.
	if err := w.WriteHeader(&tar.Header{Name: program[1:], Mode: 0o555, Size: int64(len(content)), Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	file.Config = v1.Config{
		User:         "65532:65532", // a number, since Kubernetes can't tell whether a name is root
		Entrypoint:   []string{program},
		Env:          []string{"API_LISTEN=:8000", "API_STACK=/etc/model-api/stack.json"},
		ExposedPorts: map[string]struct{}{"8000/tcp": {}},
	}
	return mutate.ConfigFile(image, file)
}
