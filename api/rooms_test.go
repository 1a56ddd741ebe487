package main

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// rooms says for each package of the API which packages of ours it may import.
// A row's imports stand in rows below it or are no part of the API, so arrows only
// run down: what a room needs is never one that needs the room. A name that ends
// with /* is of all packages in that folder.
var rooms = []struct {
	name    string
	imports string
}{
	{"api", "api/authorizer api/gateway api/fresh api/doctor api/explain api/contract api/access api/bill api/limit api/store api/upstream api/observe internal/cli internal/keycloak internal/local policy"},

	{"api/authorizer", ""},
	{"api/gateway", "api/playground api/login api/exchange api/servicekey api/stepup api/bearer api/protocol api/protocol/* api/limit api/responses api/usage api/store api/upstream api/embedded api/embedded/* api/observe api/refusal policy"},
	{"api/doctor", "api/bearer api/issuer api/store internal/cli internal/keycloak policy"},
	{"api/explain", "api/stepup api/bearer api/refusal internal/cli policy"},
	{"api/contract", "api/issuer policy"},
	{"api/access", "api/stepup internal/cli internal/keycloak policy"},
	{"api/bill", "internal/cli"},

	{"api/playground", "api/login api/stepup api/embedded api/refusal internal/look policy"},
	{"api/login", "api/bearer api/issuer api/refusal api/store internal/clock"},
	{"api/exchange", "api/bearer api/issuer api/refusal internal/clock"},
	{"api/servicekey", "api/bearer api/issuer api/refusal internal/clock policy"},
	{"api/stepup", "api/bearer api/refusal policy"},
	{"api/bearer", "api/issuer api/refusal api/store internal/clock policy"},
	{"api/issuer", ""},

	{"api/protocol/*", "api/protocol api/protocol/body api/protocol/form api/embedded api/refusal policy"},
	{"api/protocol/body", "api/protocol api/refusal policy"},
	{"api/protocol/form", "api/protocol api/refusal policy"},
	{"api/protocol", "api/embedded api/refusal policy"},
	{"api/limit", "api/store policy"},
	{"api/responses", "api/eventstream"},
	{"api/usage", "api/eventstream"},
	{"api/upstream", "api/eventstream api/fresh api/refusal policy"},
	{"api/eventstream", ""},
	{"api/store", ""},
	{"api/embedded/*", "api/embedded"},
	{"api/embedded", ""},
	{"api/fresh", ""},
	{"api/observe", ""},
	{"api/refusal/gen", "api/refusal"},
	{"api/refusal", ""},
	{"policy", ""},
}

// TestRoomsImportOnlyWhatIsBelow reads what every package of the API imports.
func TestRoomsImportOnlyWhatIsBelow(t *testing.T) {
	const module = "keycloak-model-api/"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...", "../policy").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		row := room(name)
		if row < 0 {
			t.Errorf("%s has no row in rooms: say what it may import", name)
			continue
		}
		seen++
		allowed := strings.Fields(rooms[row].imports)
		for _, imported := range fields[1:] {
			imported, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			below := room(imported)
			switch {
			case !slices.Contains(allowed, imported) && !slices.Contains(allowed, path.Dir(imported)+"/*"):
				t.Errorf("%s imports %s, which its row in rooms does not allow", name, imported)
			case below >= 0 && below <= row:
				t.Errorf("%s imports %s, whose row is not below its own: the arrow runs up", name, imported)
			}
		}
	}
	if seen < 10 {
		t.Errorf("go list tells of %d packages:\n%s", seen, out)
	}
}

// room returns the row of a package, its own rather than that of its folder, or -1.
func room(name string) int {
	inFolder := -1
	for i, row := range rooms {
		switch row.name {
		case name:
			return i
		case path.Dir(name) + "/*":
			inFolder = i
		}
	}
	return inFolder
}
