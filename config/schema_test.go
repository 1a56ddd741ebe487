package config

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// editors is the schema that editors check stack files by.
func editors(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", text); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("schema.json")
}

// validate says what the schema finds in the keys of a stack file.
func validate(t *testing.T, schema *jsonschema.Schema, keys map[string]any) error {
	t.Helper()
	document, err := json.Marshal(map[string]any{"config": keys})
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

// bySchema is validate for a text as TestRefusals has them, laid over base.
func bySchema(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	keys := map[string]any{}
	for _, layer := range []string{base, text} {
		var m map[string]any
		if err := yaml.Unmarshal([]byte(layer), &m); err != nil {
			t.Fatal(err)
		}
		for k, v := range m {
			if !strings.Contains(k, ":") {
				k = Project + ":" + k
			}
			keys[k] = v
		}
	}
	for _, f := range fields(reflect.TypeFor[Config]()) {
		k := Project + ":" + jsonName(f)
		if keys[k] == "" {
			delete(keys, k) // the same as left out
		}
		secrets, ok := keys[k].(map[string]any)
		if !ok || f.Tag.Get("secret") == "" {
			continue
		}
		for name := range secrets {
			secrets[name] = map[string]any{"secure": "v1:abc"}
		}
	}
	return validate(t, schema, keys)
}

// The stack files of this repository are valid to an editor.
func TestSchemaOfStackFiles(t *testing.T) {
	for _, name := range []string{"Pulumi.dev.yaml", "Pulumi.staging.example.yaml", "Pulumi.prod.example.yaml"} {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Config map[string]any }
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		if err := validate(t, editors(t), file.Config); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The password of the mail server is one secret, as the CLI encrypts it.
func TestSchemaOfOneSecret(t *testing.T) {
	for _, tt := range []struct {
		value any
		valid bool
	}{{map[string]any{"secure": "v1:abc"}, true}, {"hunter2", false}} {
		err := validate(t, editors(t), map[string]any{Project + ":realm": "r", Project + ":smtpPassword": tt.value})
		if (err == nil) != tt.valid {
			t.Errorf("%v: got %v", tt.value, err)
		}
	}
}
