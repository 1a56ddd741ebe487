package main

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/google/licenseclassifier/v2/assets"
)

// TestRelease makes a release for this computer, twice, and looks at all that it
// wrote. It is one test, since building is what takes the time.
func TestRelease(t *testing.T) {
	dist, target := filepath.Join(t.TempDir(), "dist"), "linux/"+runtime.GOARCH
	t.Chdir("..") // as `go run -C deploy ./release`
	var out strings.Builder
	if err := run(t.Context(), []string{"-out", dist, "-targets", target, "-verify"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "same bytes") {
		t.Errorf("nothing is said of the second build: %q", out.String())
	}
	checkSums(t, dist)
	checkMaterials(t, filepath.Join(dist, "model-api_linux_"+runtime.GOARCH+".cdx.json"))
	checkLicenses(t, filepath.Join(dist, "LICENSES.txt"))
	image := onlyImage(t, filepath.Join(dist, "image"))
	root := t.TempDir()
	unpack(t, image, root)
	if runtime.GOOS == "linux" {
		serves(t, image, root)
	}
}

func TestTargetIsKnown(t *testing.T) {
	dist := t.TempDir()
	err := run(t.Context(), []string{"-out", dist, "-targets", "plan9/amd64"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "plan9/amd64") {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(dist); err != nil {
		t.Errorf("the directory was removed before the mistake was seen: %v", err)
	}
}

// checkSums is what `sha256sum -c SHA256SUMS` does, and that no file is left out.
func checkSums(t *testing.T, dist string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"SHA256SUMS": true}
	for line := range strings.Lines(string(content)) {
		digest, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if got, err := sum(filepath.Join(dist, name)); err != nil || got != digest {
			t.Errorf("%s: %s, not %s (%v)", name, got, digest, err)
		}
		listed[name] = true
	}
	err = filepath.WalkDir(dist, func(path string, entry os.DirEntry, err error) error {
		if name, _ := filepath.Rel(dist, path); err == nil && !entry.IsDir() && !listed[name] {
			t.Errorf("%s is not in SHA256SUMS", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// checkMaterials looks for a module that the API surely holds.
func checkMaterials(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(file, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	for _, c := range *bom.Components {
		if c.Name == "github.com/coreos/go-oidc/v3" && strings.HasPrefix(c.Version, "v3.") {
			return
		}
	}
	t.Errorf("go-oidc is not in the bill of %d components", len(*bom.Components))
}

// checkLicenses looks for modules that the programs surely hold, each with its text.
func checkLicenses(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"=== std go", "=== github.com/coreos/go-oidc/v3 v3.", "Apache License", "Redistribution and use"} {
		if !strings.Contains(string(content), want) {
			t.Errorf("%q is not in LICENSES.txt", want)
		}
	}
}

// A module without a license, or with one that asks for more, is no part of a release.
func TestLicensesAreAccepted(t *testing.T) {
	known, err := assets.DefaultClassifier()
	if err != nil {
		t.Fatal(err)
	}
	license := func(name string) string {
		text, err := assets.ReadLicenseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, test := range []struct{ name, file, text, want string }{
		{"accepted", "LICENSE", license("License/MIT/pristine.txt"), ""},
		{"in another spelling", "licence.md", license("License/Apache-2.0/pristine.txt"), ""},
		{"asks for more", "COPYING", license("License/AGPL-3.0/license.txt"), "AGPL-3.0 is not among the accepted"},
		{"unknown", "LICENSE", "All rights reserved.", "no license is known"},
		{"none", "README", license("License/MIT/pristine.txt"), "no license is known"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err := licensesIn(known, dir)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// onlyImage returns the image of a layout that has one.
func onlyImage(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Platform.String() != "linux/"+runtime.GOARCH {
		t.Fatalf("the manifests are %+v", manifest.Manifests)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// unpack writes the files of an image below root. There is only the program, which
// nobody may write.
func unpack(t *testing.T, image v1.Image, root string) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers (%v)", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	r := tar.NewReader(content)
	var names []string
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Mode&0o222 != 0 || header.Uid != 0 || !header.ModTime.IsZero() && header.ModTime.Unix() != 0 {
			t.Errorf("%s: mode %o, user %d, time %v", header.Name, header.Mode, header.Uid, header.ModTime)
		}
		file, err := os.OpenFile(filepath.Join(root, header.Name), os.O_CREATE|os.O_WRONLY, 0o555)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(file, r); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(names, " ") != "model-api" {
		t.Errorf("the files are %q", names)
	}
}

// serves runs the image's program as its configuration says: as its user, and with
// its files alone where this test may do so, which shows that it is static.
func serves(t *testing.T, image v1.Image, root string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || strings.Join(config.Config.Entrypoint, " ") != program {
		t.Fatalf("the configuration is %+v", config.Config)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	stack := `{"realm_name":"r","realm":"R","issuer":"http://127.0.0.1:9/realms/r","audience":"model-api","client_id":"model-api","client_secret":"secret",
"policy":{"version":2,"baseRole":"model-user","models":[{"name":"iris","embedded":"iris","allow":{}}],"clients":[]}}`
	if err := os.WriteFile(filepath.Join(root, "stack.json"), []byte(stack), 0o444); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-listen", "fd:3", "-stack", "/stack.json")
	cmd.Env = config.Config.Env
	cmd.ExtraFiles = []*os.File{socket}
	var log strings.Builder
	cmd.Stderr = &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if os.Getuid() == 0 {
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	} else {
		cmd.Path, cmd.Args[4] = filepath.Join(root, program), filepath.Join(root, "stack.json")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	socket.Close()
	client := http.Client{Timeout: time.Minute}
	response, err := client.Get("http://" + listener.Addr().String() + "/healthz")
	if err == nil {
		response.Body.Close()
	}
	cancel()
	if waited := cmd.Wait(); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %v (%v); the program ended with %v and said\n%s", response, err, waited, log.String())
	}
}
