package keycloak

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	err := unpack(archive(t,
		tar.Header{Name: "keycloak-1/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "keycloak-1/bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "keycloak-1/bin/kc.sh", Typeflag: tar.TypeReg, Mode: 0o755},
		tar.Header{Name: "keycloak-1/lib/no/folder/entry.jar", Typeflag: tar.TypeReg, Mode: 0o444},
	), dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"bin/kc.sh": 0o755, "lib/no/folder/entry.jar": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		// Only the user's bits: the umask takes from the others.
		if info.Mode().Perm()&0o700 != mode&0o700 || info.Size() != int64(len(content)) {
			t.Errorf("%s has mode %v and %d bytes", name, info.Mode(), info.Size())
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	whole := archive(t, tar.Header{Name: "k/file", Typeflag: tar.TypeReg, Mode: 0o644})
	damaged := bytes.Clone(whole.Bytes())
	damaged[len(damaged)-5] ^= 1 // in gzip's checksum and size
	tests := []struct {
		name    string
		archive io.Reader
		want    string
	}{
		{"path out of the folder (CWE-22)", archive(t, tar.Header{Name: "k/../../evil", Typeflag: tar.TypeReg}), "path escapes from parent"},
		{"absolute path (CWE-36)", archive(t, tar.Header{Name: "k//etc/evil", Typeflag: tar.TypeReg}), "path escapes from parent"},
		{"symbolic link (CWE-59)", archive(t, tar.Header{Name: "k/link", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), "neither a file nor a folder"},
		{"hard link (CWE-59)", archive(t, tar.Header{Name: "k/link", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}), "neither a file nor a folder"},
		{"device", archive(t, tar.Header{Name: "k/dev", Typeflag: tar.TypeChar}), "neither a file nor a folder"},
		{"the same file twice", archive(t, tar.Header{Name: "k/a", Typeflag: tar.TypeReg}, tar.Header{Name: "k/a", Typeflag: tar.TypeReg}), "file exists"},
		{"not gzip", bytes.NewBufferString("<html>a proxy's error page</html>"), "invalid header"},
		{"cut off", bytes.NewReader(whole.Bytes()[:whole.Len()/2]), "EOF"},
		{"damaged", bytes.NewReader(damaged), "checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			wantError(t, unpack(tt.archive, filepath.Join(parent, "home")), tt.want)
			entries, err := os.ReadDir(parent)
			if err != nil || len(entries) > 1 {
				t.Errorf("beside the folder: %v, %v", entries, err)
			}
		})
	}
}

func TestUnpackEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	whole := archive(t, tar.Header{Name: "k/file", Typeflag: tar.TypeReg})
	err := unpack(&countingReader{ctx: ctx, r: whole}, filepath.Join(t.TempDir(), "home"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}

const content = "content"

// archive is a gzipped tar archive whose files all have the same content.
func archive(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		err := tw.WriteHeader(&h)
		if err == nil && h.Size > 0 {
			_, err = io.WriteString(tw, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return &out
}
