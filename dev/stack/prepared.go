package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// data is the folder of the Keycloak that dev starts.
func (p *program) data() string { return filepath.Join(p.state, "keycloak") }

// preparedFile has the digest of the declaration whose realms are in the
// database as they were made, untouched. It lies beside the database, so that
// both are deleted together.
func (p *program) preparedFile() string { return filepath.Join(p.data(), "prepared") }

// prepare makes the realms anew for the next start. That takes seconds from a
// Keycloak that has just booted, and a fraction of it from one that is about to
// stop.
func (p *program) prepare(ctx context.Context) error {
	d, err := p.declareHere(ctx)
	if err != nil {
		return err
	}
	digest, err := d.digest()
	if err != nil {
		return err
	}
	if err := p.makeRealms(ctx, d); err != nil {
		return err
	}
	return writeFile(p.preparedFile(), []byte(digest))
}

// takePrepared tells whether prepare made the realms of the declaration with that
// digest and nobody has used them yet. It says so once.
func (p *program) takePrepared(ctx context.Context, realms []*render.Realm, digest string) (bool, error) {
	if !p.local {
		return false, nil
	}
	prepared, err := os.ReadFile(p.preparedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := errors.Join(err, os.Remove(p.preparedFile())); err != nil {
		return false, fmt.Errorf("stack: %w", err)
	}
	if digest != string(prepared) {
		return false, nil
	}
	for _, realm := range realms {
		if !p.answers(ctx, "/realms/"+url.PathEscape(realm.Name)) {
			return false, nil
		}
	}
	return true, nil
}

// answers tells whether Keycloak answers 200. makeRealms finds out what is wrong
// otherwise.
func (p *program) answers(ctx context.Context, path string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.keycloakURL+path, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// digest is the SHA-256, in hexadecimal, of all that decides what the realms
// become: the resources with their secrets, and this program.
func (d *declaration) digest() (string, error) {
	h := sha256.New()
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("stack: %w", err)
	}
	self, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("stack: %w", err)
	}
	defer self.Close()
	if _, err := io.Copy(h, self); err != nil {
		return "", fmt.Errorf("stack: %w", err)
	}
	// They are registered in any order.
	resources := slices.SortedFunc(slices.Values(d.result.Resources), func(x, y *monitor.Resource) int { return cmp.Compare(x.URN, y.URN) })
	encoder := json.NewEncoder(h)
	for _, r := range resources {
		if err := errors.Join(encoder.Encode(r.URN), encoder.Encode(monitor.Plain(resource.NewProperty(r.Inputs)))); err != nil {
			return "", fmt.Errorf("stack: %s: %w", r.URN, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
