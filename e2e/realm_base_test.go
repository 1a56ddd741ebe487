package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write internal/render/base.json anew")

// The renderer puts into every realm what Keycloak puts there: base.json is the
// export of an empty realm, without what no two realms share.
func TestBaseRealm(t *testing.T) {
	const realm = "the-realm"
	if err := e.admin.Do(t.Context(), http.MethodPost, "/realms", map[string]any{"realm": realm, "enabled": true}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.admin.DeleteRealm(context.Background(), realm); err != nil {
			t.Error(err)
		}
	})
	export, err := e.admin.PartialExport(t.Context(), realm)
	if err != nil {
		t.Fatal(err)
	}
	got := inOrder(t, export)
	file := filepath.Join(e.root, "internal", "render", "base.json")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("Keycloak's empty realm is another: go test -C e2e -run TestBaseRealm . -update (-want +got):\n%s", diff)
	}
}

// inOrder is an export without ids, its lists in order.
func inOrder(t *testing.T, export []byte) []byte {
	t.Helper()
	var realm any
	if err := json.Unmarshal(export, &realm); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(ordered("", realm)); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func ordered(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "id")
		delete(v, "containerId")
		for k, member := range v {
			v[k] = ordered(k, member)
		}
	case []any:
		for i := range v {
			v[i] = ordered("", v[i])
		}
		if key != "authenticationExecutions" { // whose order counts
			slices.SortFunc(v, func(a, b any) int { return cmp.Compare(sortKey(a), sortKey(b)) })
		}
	}
	return v
}

// sortKey is a value as text, that of an object after its name.
func sortKey(v any) string {
	text, _ := json.Marshal(v)
	if object, ok := v.(map[string]any); ok {
		for _, key := range []string{"clientId", "alias", "name"} {
			if name, ok := object[key].(string); ok {
				return name + "\x00" + string(text)
			}
		}
	}
	return string(text)
}
