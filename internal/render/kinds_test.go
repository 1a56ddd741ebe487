package render

import (
	"os"
	"strings"
	"testing"
)

// The SDK and the table of kinds have the same resource types.
func TestEveryResourceHasARow(t *testing.T) {
	text, err := os.ReadFile("../../sdks/keycloak/resources.txt")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "resource" || line[0] == ' ' {
			continue
		}
		declared[words[1]] = true
		if _, ok := kinds[words[1]]; !ok {
			t.Errorf("%s has no row in kinds", words[1])
		}
	}
	for token := range kinds {
		if !declared[token] && token != "keycloak:openid/audienceResolveProtocolMappter:AudienceResolveProtocolMappter" { // its former token
			t.Errorf("%s is not in resources.txt", token)
		}
	}
	if len(declared) < 50 {
		t.Errorf("resources.txt has %d resources", len(declared))
	}
}
