package roles

import (
	"slices"
	"strings"
	"testing"

	"keycloak-model-api/config"
)

func TestInOrder(t *testing.T) {
	name := func(r config.Role) string { return r.Name }
	needs := func(r config.Role) []string { return r.Composites }
	got, err := inOrder([]config.Role{
		{Name: "lead", Composites: []string{"analyst", "base"}},
		{Name: "analyst", Composites: []string{"base"}},
		{Name: "base"},
		{Name: "other", Composites: []string{"elsewhere"}},
	}, name, needs)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range got {
		names = append(names, r.Name)
	}
	if want := []string{"base", "analyst", "lead", "other"}; !slices.Equal(names, want) {
		t.Errorf("order %q, want %q", names, want)
	}
	_, err = inOrder([]config.Role{{Name: "a", Composites: []string{"b"}}, {Name: "b", Composites: []string{"a"}}}, name, needs)
	if err == nil || !strings.Contains(err.Error(), "contains itself") {
		t.Errorf("a circle gives %v", err)
	}
}
