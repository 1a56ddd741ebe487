// Gen writes what is derived from the table of refusals: the table in
// docs/api.md, and the codes in the API's OpenAPI document.
//
//	go generate ./api/refusal
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"keycloak-model-api/api/refusal"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// generated are the parts of files that are made, by the file's path from the
// folder api/refusal: what stands between two lines.
var generated = map[string]struct {
	begin, end string
	content    func() string
}{
	"../../docs/api.md":       {"<!-- Refusals: from api/refusal/table.go by \"go generate ./api/refusal\". -->\n", "<!-- End of the refusals. -->", table},
	"../gateway/openapi.json": {"   \"Code\": {\n", "   },\n", schema},
}

// run writes the files for the package in dir.
func run(dir string) error {
	for name := range generated {
		path := filepath.Join(dir, name)
		_, want, err := compare(path, name)
		if err == nil {
			err = os.WriteFile(path, want, 0o644)
		}
		if err != nil {
			return fmt.Errorf("gen: %w", err)
		}
	}
	return nil
}

// compare returns the file at path as it is and as it should be.
func compare(path, name string) (got, want []byte, err error) {
	part := generated[name]
	got, err = os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	before, rest, ok := bytes.Cut(got, []byte(part.begin))
	_, after, ok2 := bytes.Cut(rest, []byte(part.end))
	if !ok || !ok2 {
		return nil, nil, fmt.Errorf("%s has no lines %q and %q", path, part.begin, part.end)
	}
	return got, slices.Concat(before, []byte(part.begin+part.content()+part.end), after), nil
}

// verb is a verb of package fmt, which stands for something of the request.
var verb = regexp.MustCompile(`%[sdq]`)

// table is the table of docs/api.md, sorted by status.
func table() string {
	var b strings.Builder
	b.WriteString("| status | code | the caller is told | an operator changes |\n|---|---|---|---|\n")
	all := refusal.All()
	slices.SortStableFunc(all, func(a, b refusal.Reason) int { return a.Status - b.Status })
	for _, r := range all {
		text := func(s string) string {
			s = strings.NewReplacer("{client}", "the client", "{audience}", "this API's client id", "|", `\|`, "<", "&lt;").Replace(s)
			return verb.ReplaceAllString(s, "…")
		}
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s |\n", r.Status, r.Code, text(r.Message), text(r.Fix))
	}
	return b.String()
}

// schema is the schema of a code.
func schema() string {
	var b strings.Builder
	b.WriteString("    \"type\": \"string\",\n    \"description\": \"Stable, for programs: docs/api.md has them all.\",\n    \"enum\": [\n")
	for i, r := range refusal.All() {
		code, _ := json.Marshal(r.Code) // of a string
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "     %s", code)
	}
	b.WriteString("\n    ]\n")
	return b.String()
}
