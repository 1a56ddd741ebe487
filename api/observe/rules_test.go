package observe

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keycloak-model-api/api/refusal"
)

const rulesFolder = "../../deploy/observability/"

// matcher is a metric of ours in PromQL with what it is selected by.
var (
	selected = regexp.MustCompile(`\b(model_api_\w+)(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"([^"]*)"`)
)

// Each metric, label and code that alert rules and dashboard ask for exists: a
// wrong name is an alert that never fires. promtool checks the rest
// (scripts/check-alerts).
func TestRulesAndDashboard(t *testing.T) {
	families, err := used().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{}
	for _, family := range families {
		names := []string{"instance", "job"}
		for _, l := range family.GetMetric()[0].GetLabel() {
			names = append(names, l.GetName())
		}
		labels[family.GetName()] = names
		if family.GetMetric()[0].GetHistogram() != nil {
			labels[family.GetName()+"_bucket"] = append(names, "le")
			labels[family.GetName()+"_sum"], labels[family.GetName()+"_count"] = names, names
		}
	}
	codes := []string{"", "allowed"}
	for _, e := range refusal.All() {
		codes = append(codes, string(e.Code))
	}
	for name, expressions := range map[string][]string{"alerts.yaml": {read(t, "alerts.yaml")}, "dashboard.json": dashboardExpressions(t)} {
		asked := 0
		for _, found := range selected.FindAllStringSubmatch(strings.Join(expressions, "\n"), -1) {
			asked++
			there, ok := labels[found[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", name, found[1])
			}
			for _, m := range matcher.FindAllStringSubmatch(found[2], -1) {
				if ok && !slices.Contains(there, m[1]) {
					t.Errorf("%s: %s has no label %s", name, found[1], m[1])
				}
				if m[1] == "code" {
					checkCodes(t, name, m[2], codes)
				}
			}
		}
		if asked < 15 {
			t.Errorf("%s: only %d metrics were found", name, asked)
		}
	}
}

// checkCodes fails for a part of an alternative that is no code.
func checkCodes(t *testing.T, name, value string, codes []string) {
	t.Helper()
	for part := range strings.SplitSeq(strings.Trim(value, "()?"), "|") {
		pattern := regexp.MustCompile("^(?:" + part + ")$")
		if !slices.ContainsFunc(codes, pattern.MatchString) {
			t.Errorf("%s: there is no code %s", name, part)
		}
	}
}

// The documentation says what to do about each alert.
func TestAlertsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(t, "alerts.yaml"), -1)
	rows := regexp.MustCompile("(?m)^\\| `(Model\\w+)` \\| (page|ticket) \\|").FindAllStringSubmatch(string(page), -1)
	if len(alerts) == 0 || len(rows) != len(alerts) {
		t.Errorf("%d alerts, %d of them in the documentation", len(alerts), len(rows))
	}
	for _, alert := range alerts {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[1] == alert[1] }) {
			t.Errorf("%s is not in docs/operations.md", alert[1])
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(rulesFolder + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func dashboardExpressions(t *testing.T) (all []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}
