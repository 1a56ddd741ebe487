package refusal_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keycloak-model-api/api/refusal"
)

// Each code has one row, which says everything that a caller and an operator
// need.
func TestTable(t *testing.T) {
	declared := slices.Sorted(maps.Keys(constants(t)))
	var rows []string
	for _, r := range refusal.All() {
		rows = append(rows, string(r.Code))
		switch {
		case !regexp.MustCompile(`^[a-z_]+$`).MatchString(string(r.Code)):
			t.Errorf("%s: a code is of lower-case letters and underscores", r.Code)
		case r.Status != 499 && (r.Status < 400 || http.StatusText(r.Status) == ""):
			t.Errorf("%s: status %d", r.Code, r.Status)
		case r.Message == "" || r.Fix == "":
			t.Errorf("%s: say what the caller is told and what an operator changes", r.Code)
		case r.Status == http.StatusUnauthorized && r.OAuth == "" && !strings.HasPrefix(string(r.Code), "no_") && r.Code != refusal.SessionEnded:
			t.Errorf("%s: 401 without an error for the challenge (RFC 6750, section 3.1)", r.Code)
		}
	}
	slices.Sort(rows)
	if !slices.Equal(declared, rows) {
		t.Errorf("codes %q\nrows  %q", declared, rows)
	}
}

// constants are the names of the codes, by code.
func constants(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "table.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		names[code] = spec.Names[0].Name
		return true
	})
	return names
}

func TestError(t *testing.T) {
	cause := errors.New("read: connection reset")
	e := refusal.New(refusal.MethodNotAllowed, cause, "GET, HEAD")
	if e.Message != "This path takes GET, HEAD." || e.Status != 405 || !errors.Is(e, cause) || e.Error() != "method_not_allowed: read: connection reset" {
		t.Errorf("%+v: %v", e, e)
	}
	if got := refusal.New(refusal.NotFound, nil).Error(); got != "not_found" {
		t.Error(got)
	}
}
