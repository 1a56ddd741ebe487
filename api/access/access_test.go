package access

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"

	"keycloak-model-api/policy"
)

// realmJSON is what ReadRealm is for, without what decides nothing.
const realmJSON = `{
  "realm": "example", "defaultRole": {"name": "default-roles-example"},
  "roles": {
    "realm": [
      {"name": "default-roles-example", "composites": {"client": {"account": ["view-profile"]}}},
      {"name": "base"}, {"name": "model-iris"},
      {"name": "all-models", "composites": {"realm": ["base", "model-iris"], "client": {"billing": ["reader"]}}},
      {"name": "loop", "composites": {"realm": ["loop", "base"]}}
    ],
    "client": {"billing": [{"name": "reader"}], "account": [{"name": "view-profile"}]}
  },
  "groups": [{"name": "research", "realmRoles": ["base"], "subGroups": [
    {"name": "vision", "realmRoles": ["model-iris"], "clientRoles": {"billing": ["reader"]}}
  ]}, {"name": "research2"}],
  "users": [
    {"username": "ada", "enabled": true, "realmRoles": ["default-roles-example"], "groups": ["/research/vision"]},
    {"username": "bob", "enabled": true, "realmRoles": ["base"]},
    {"username": "carol", "enabled": true, "realmRoles": ["all-models"]},
    {"username": "dan", "enabled": false, "realmRoles": ["all-models"]},
    {"username": "eve", "enabled": true, "realmRoles": ["model-iris"], "groups": ["/research2"]},
    {"username": "loopy", "enabled": true, "realmRoles": ["loop"]},
    {"username": "service-account-batch", "serviceAccountClientId": "batch", "enabled": true, "realmRoles": ["base", "model-iris"]}
  ]
}`

func testPolicy() *policy.Policy {
	return &policy.Policy{
		Version: policy.Version, BaseRole: "base",
		Models: []policy.Model{
			{Name: "open"},
			{Name: "iris", Allow: policy.Conditions{Roles: []string{"model-other", "model-iris"}, Actions: []string{"infer"}}},
			{Name: "bill", Allow: policy.Conditions{AllRoles: []string{"base", "billing/reader"}}},
			{Name: "vision", Allow: policy.Conditions{Groups: []string{"/research/vision"}}},
			{Name: "research", Allow: policy.Conditions{Groups: []string{"/research"}}},
			{Name: "strong", Allow: policy.Conditions{Roles: []string{"model-iris"}}, Authentication: &policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}},
			{Name: "night", Allow: policy.Conditions{Clients: []string{"batch"}}},
			{Name: "page", Allow: policy.Conditions{Clients: []string{"web", "elsewhere"}, Scopes: []string{"pages"}}},
		},
		Clients: []policy.Client{{ClientID: "web", Kind: "web"}, {ClientID: "cli", Kind: "cli"}, {ClientID: "batch", Kind: "service"}},
	}
}

func testRealm(t *testing.T) *Realm {
	t.Helper()
	realm, err := ReadRealm(strings.NewReader(realmJSON))
	if err != nil {
		t.Fatal(err)
	}
	return realm
}

// Roles come from users, groups and what is above them, and from composites.
// What is said of a group holds for whoever is a member and nothing more.
func TestReview(t *testing.T) {
	may := map[string][]string{} // name to models
	why := map[string]string{}
	for _, row := range Review(testPolicy(), testRealm(t)) {
		if row.Allowed {
			may[row.Name] = append(may[row.Name], row.Model)
		}
		why[row.Name+" "+row.Model] = row.Reason
		if row.Name == "service-account-batch" && row.Model == "strong" && strings.Join(row.Actions, " ") != "metadata ready" {
			t.Errorf("a service account may %v without a sign-in", row.Actions)
		}
		if row.Allowed == (len(row.Actions) == 0) {
			t.Errorf("%s %s: allowed %v, actions %v", row.Name, row.Model, row.Allowed, row.Actions)
		}
	}
	for name, want := range map[string]string{
		"ada":                   "open iris bill vision strong page",
		"bob":                   "open page",
		"carol":                 "open iris bill strong page",
		"dan":                   "", // disabled
		"eve":                   "", // no base role
		"loopy":                 "open page",
		"service-account-batch": "open iris strong night",
		"/research":             "open research page",
		"/research/vision":      "open iris bill vision strong page",
		"/research2":            "", // only looks like /research
	} {
		if got := strings.Join(may[name], " "); got != want {
			t.Errorf("%s may call %q, want %q", name, got, want)
		}
	}
	for of, want := range map[string]string{
		"ada iris":                   "base (by group /research); model-iris (by group /research/vision)",
		"ada bill":                   "base (by group /research); billing/reader (by group /research/vision)",
		"bob open":                   "base (assigned)",
		"bob iris":                   "no role model-other or model-iris",
		"carol bill":                 "base (by role all-models); billing/reader (by role all-models)",
		"carol vision":               "not in group /research/vision",
		"carol night":                "only by client batch",
		"carol page":                 "base (by role all-models); only by client web; only with scope pages",
		"carol strong":               "base (by role all-models); model-iris (by role all-models); to be called only after a sign-in of class 2",
		"dan iris":                   "the account is disabled",
		"eve iris":                   "no role base",
		"eve vision":                 "no role base; not in group /research/vision",
		"ada research":               "not in group /research",
		"service-account-batch page": "only by client web, elsewhere",
	} {
		if why[of] != want {
			t.Errorf("%s: %q, want %q", of, why[of], want)
		}
	}
}

// A reason for a no is never empty, and a yes is the policy's own.
func TestReasons(t *testing.T) {
	for _, row := range Review(testPolicy(), testRealm(t)) {
		if row.Reason == "" {
			t.Errorf("%s %s: no reason", row.Name, row.Model)
		}
	}
}

func TestExplain(t *testing.T) {
	rows, ok := Explain(testPolicy(), testRealm(t), "bob")
	if !ok || len(rows) != len(testPolicy().Models) {
		t.Errorf("%d rows, %v", len(rows), ok)
	}
	// A group is no user, whatever its name.
	for _, name := range []string{"nobody", "/research"} {
		if rows, ok := Explain(testPolicy(), testRealm(t), name); ok || len(rows) > 0 {
			t.Errorf("%s: %d rows", name, len(rows))
		}
	}
}

func TestReadRealm(t *testing.T) {
	if _, err := ReadRealm(strings.NewReader("name,model\n")); err == nil {
		t.Error("a table was taken for a realm")
	}
}

// Whoever may choose a name may not choose what a spreadsheet, a page or a
// terminal does with it (CWE-1236, CWE-79, CWE-150).
func TestWrite(t *testing.T) {
	names := []string{
		`=HYPERLINK("http://evil.example")`, "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "＝1",
		"a,b\"c\nd", "x|y", "<img src=x>", "[a](javascript:b)", "\x1b[2Jgone", "`code`", "plain",
	}
	var rows []Row
	for _, name := range names {
		rows = append(rows, Row{Name: name, Kind: Person, Model: "iris", Allowed: true, Actions: []string{"infer"}, Reason: "because"})
	}
	written := func(format string) string {
		var b bytes.Buffer
		if err := Write(&b, format, rows); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}

	records, err := csv.NewReader(strings.NewReader(written("csv"))).ReadAll()
	if err != nil || len(records) != len(names)+1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i, record := range records[1:] {
		guarded := i < 8
		if guarded != strings.HasPrefix(record[0], "'") || strings.TrimPrefix(record[0], "'") != strings.TrimPrefix(strings.ReplaceAll(names[i], "\r\n", "\n"), "'") && !guarded {
			t.Errorf("%q is written as %q", names[i], record[0])
		}
	}

	for format, lines := range map[string]int{"table": len(names) + 1, "markdown": len(names) + 2} {
		text := written(format)
		if n := strings.Count(text, "\n"); n != lines {
			t.Errorf("%s: %d lines, want %d:\n%s", format, n, lines, text)
		}
		if strings.ContainsAny(text, "\x1b\r\t") {
			t.Errorf("%s: control characters in %q", format, text)
		}
	}
	page := written("markdown")
	for _, raw := range []string{"x|y", " <img", " [a]", " `code`"} {
		if strings.Contains(page, raw) {
			t.Errorf("markdown has %q unescaped:\n%s", raw, page)
		}
	}
	if !slices.Contains(Formats(), "markdown") || fmt.Sprint(Formats()) != "[table csv markdown]" {
		t.Errorf("formats %v", Formats())
	}
}
