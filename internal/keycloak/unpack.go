package keycloak

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"keycloak-model-api/internal/keycloak/progress"
)

// unpackWithProgress unpacks the archive file into dir and reports on it.
func unpackWithProgress(ctx context.Context, archive, dir string, w io.Writer) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("keycloak: unpack: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("keycloak: unpack: %w", err)
	}
	r := &countingReader{ctx: ctx, r: f}
	defer progress.Start(w, "Unpacking Keycloak "+Version, info.Size(), r.n.Load)()
	return unpack(r, dir)
}

// unpack makes the folder dir from a gzipped tar archive and leaves out the
// archive's one top folder. An entry that would land outside dir, or that is
// neither a file nor a folder, is an error; Keycloak's archive has none.
func unpack(r io.Reader, dir string) error {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("keycloak: unpack: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("keycloak: unpack: %w", err)
	}
	root, err := os.OpenRoot(dir) // refuses whatever leads out of dir
	if err != nil {
		return fmt.Errorf("keycloak: unpack: %w", err)
	}
	defer root.Close()
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("keycloak: unpack: %w", err)
		}
		_, name, _ := strings.Cut(strings.TrimPrefix(h.Name, "./"), "/")
		if name == "" {
			continue // the top folder itself
		}
		if err := unpackEntry(root, name, h, tr); err != nil {
			return fmt.Errorf("keycloak: unpack %q: %w", h.Name, err)
		}
	}
	// The checksum of gzip is checked at its end, which tar doesn't read.
	if _, err := io.Copy(io.Discard, zr); err != nil {
		return fmt.Errorf("keycloak: unpack: %w", err)
	}
	return nil
}

func unpackEntry(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(path.Clean(name), 0o755)
	case tar.TypeReg:
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode().Perm()|0o200)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	default:
		return errors.New("neither a file nor a folder")
	}
}

// countingReader counts what was read and ends with its context.
type countingReader struct {
	ctx context.Context
	r   io.Reader
	n   atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
