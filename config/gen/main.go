// Gen writes what is derived from the fields of config.Config, their tags and
// their comments: the reference of every key for people, and a JSON Schema of
// stack files for editors.
//
//	go generate ./config
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"keycloak-model-api/config"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// files are the generated files by their path from the folder config, which is dir.
func files(dir string) (map[string][]byte, error) {
	d, err := readDocs(dir)
	if err != nil {
		return nil, err
	}
	s, err := d.schema()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"schema.json":              s,
		"../docs/configuration.md": []byte(d.reference()),
	}, nil
}

// docs is what the comment above a field says, by the type and the field.
type docs map[string]map[string]string

// readDocs reads the comments of the package in dir. A key without one is an error.
func readDocs(dir string) (docs, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	d := docs{}
	var undocumented []error
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			t, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			structure, ok := t.Type.(*ast.StructType)
			if !ok {
				return false
			}
			d[t.Name.Name] = map[string]string{}
			for _, f := range structure.Fields.List {
				text := strings.Join(strings.Fields(f.Doc.Text()), " ")
				for _, field := range f.Names {
					d[t.Name.Name][field.Name] = text
				}
				if text == "" && f.Tag != nil && strings.Contains(f.Tag.Value, "json:") {
					undocumented = append(undocumented, fmt.Errorf("%s: %s has a key without a comment above it that says what it means", name, t.Name.Name))
				}
			}
			return false
		})
	}
	return d, errors.Join(undocumented...)
}

// run writes the files for the package in dir.
func run(dir string) error {
	generated, err := files(dir)
	if err != nil {
		return fmt.Errorf("gen: %w", err)
	}
	for name, data := range generated {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("gen: %w", err)
		}
	}
	return nil
}

// reference is one table of the top-level keys, and one for each type that they
// lead to, in the order in which a reader meets them.
func (d docs) reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Generated from config/config.go by "go generate ./config". -->

Every key stands in ` + "`Pulumi.<stack>.yaml`" + ` under ` + "`config:`" + `, with the prefix ` + "`" + config.Project + ":`" + `; ` + "`Pulumi.yaml`" + ` declares them with their defaults.
Objects and lists are YAML, and a nested value can be set by ` + "`pulumi config set --path`" + `.
The program reads all of it before the first resource, and names every unknown key, wrong type and contradiction at once, with the client, model or user that it belongs to and, where ` + "`Pulumi.<stack>.yaml`" + ` lies beside ` + "`Pulumi.yaml`" + `, its line.
Secrets are refused unless they are encrypted, in dev too, and so is a prefix that is within two letters of ours; other prefixes are the business of other programs.
A stack that sets no ` + "`environment`" + ` is prod.
Editors that know JSON Schema get completion from ` + "`config/schema.json`" + `: put ` + "`# yaml-language-server: $schema=config/schema.json`" + ` on the first line of a stack file.

Beside these keys the Keycloak provider reads its own: ` + "`keycloak:url`, `keycloak:clientId`, `keycloak:clientSecret`" + ` and so on, or the variables ` + "`KEYCLOAK_URL`" + ` and so on.
A key under ` + "`keycloak:`" + ` that the provider does not have is refused.

`)
	queue := []reflect.Type{reflect.TypeFor[config.Config]()}
	seen := map[reflect.Type]bool{}
	for len(queue) > 0 {
		t := queue[0]
		queue = queue[1:]
		if seen[t] {
			continue
		}
		seen[t] = true
		if t.Name() != "Config" {
			fmt.Fprintf(&b, "\n## %s\n\n", t.Name())
		}
		b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
		for _, f := range keys(t) {
			def := ""
			if d := f.Tag.Get("default"); d != "" {
				def = "`" + d + "`"
			}
			doc := d[t.Name()][f.Name]
			if enum := f.Tag.Get("enum"); enum != "" {
				doc += " One of `" + strings.ReplaceAll(enum, ",", "`, `") + "`."
			}
			if f.Tag.Get("secret") != "" {
				doc += " Refused unless encrypted."
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Tag.Get("json"), typeName(f.Type), def, strings.ReplaceAll(doc, "|", "\\|"))
			if s := structOf(f.Type); s != nil {
				queue = append(queue, s)
			}
		}
	}
	b.WriteString(kinds())
	return b.String()
}

// kinds is what each kind of client comes to where nothing else is said.
func kinds() string {
	var b strings.Builder
	b.WriteString("\n## Kinds of clients\n\nWhat a client of each kind is where its own fields leave it out.\n\n")
	names := config.Kinds()
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	row := func(title string, value func(config.Client) bool) {
		fmt.Fprintf(&b, "| %s |", title)
		for _, name := range names {
			mark := ""
			if value(config.Client{Kind: name}.WithDefaults()) {
				mark = "yes"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
	}
	row("confidential: has a secret or a key", func(c config.Client) bool { return !c.Public() })
	row("authorization code (`standardFlow`)", func(c config.Client) bool { return *c.StandardFlow })
	row("device grant (`deviceGrant`)", func(c config.Client) bool { return *c.DeviceGrant })
	row("PKCE demanded (`pkce`)", func(c config.Client) bool { return *c.PKCE })
	row("client credentials (`serviceAccount`)", func(c config.Client) bool { return *c.ServiceAccount })
	row("token exchange (`tokenExchange`)", func(c config.Client) bool { return *c.TokenExchange })
	row("password grant (`directAccessGrants`)", func(c config.Client) bool { return *c.DirectAccessGrants })
	row("all roles in tokens (`fullScope`)", func(c config.Client) bool { return *c.FullScope })
	b.WriteString("\nThe implicit flow is off in every client. Every client's access tokens name the client of kind api in their audience.\n")
	return b.String()
}

func keys(t reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() {
			fields = append(fields, f)
		}
	}
	return fields
}

// structOf is the struct that t is, or is made of, or nil.
func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "boolean"
	case reflect.Int:
		return "integer"
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		return "map of " + typeName(t.Elem())
	}
	return "[" + t.Name() + "](#" + strings.ToLower(t.Name()) + ")"
}

type object map[string]any

// schema is a JSON Schema (draft 2020-12) of a whole stack file.
func (d docs) schema() ([]byte, error) {
	defs := object{}
	properties := object{}
	var names, required []string
	whole := reflect.TypeFor[config.Config]()
	for _, f := range keys(whole) {
		name := config.Project + ":" + f.Tag.Get("json")
		properties[name] = d.field(whole, f, defs)
		names = append(names, name)
		if f.Tag.Get("required") != "" {
			required = append(required, name)
		}
	}
	out, err := json.MarshalIndent(object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "Stack file of " + config.Project,
		"type":    "object",
		"properties": object{"config": object{
			"type":       "object",
			"properties": properties,
			"required":   required,
			// Other namespaces are none of ours; a key of ours that is not listed
			// is a typing error.
			"propertyNames": object{"anyOf": []any{
				object{"not": object{"pattern": "^" + config.Project + ":"}},
				object{"enum": names},
			}},
		}},
		"$defs": defs,
	}, "", "  ")
	return append(out, '\n'), err
}

// field is the schema of the field f of t.
func (d docs) field(t reflect.Type, f reflect.StructField, defs object) object {
	s := d.value(f.Type, defs)
	s["description"] = d[t.Name()][f.Name]
	if enum := f.Tag.Get("enum"); enum != "" {
		var values []any
		for v := range strings.SplitSeq(enum, ",") {
			values = append(values, literal(f.Type, v))
		}
		s["enum"] = values
	}
	if def := f.Tag.Get("default"); def != "" {
		s["default"] = literal(f.Type, def)
	}
	return s
}

// value is the schema of a value of type t. Structs go into defs.
func (d docs) value(t reflect.Type, defs object) object {
	encrypted := object{"type": "object", "properties": object{"secure": object{"type": "string"}}, "required": []string{"secure"}}
	switch t {
	case reflect.TypeFor[config.Secret]():
		return encrypted
	case reflect.TypeFor[config.Secrets]():
		return object{"type": "object", "additionalProperties": encrypted}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.value(t.Elem(), defs)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Slice:
		items := d.value(t.Elem(), defs)
		if items["type"] == "string" {
			items["minLength"] = 1 // an empty name is a mistake
		}
		return object{"type": "array", "items": items}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.value(t.Elem(), defs)}
	case reflect.Struct:
		if _, ok := defs[t.Name()]; !ok {
			def := object{"type": "object", "additionalProperties": false}
			defs[t.Name()] = def
			properties, required := object{}, []string{}
			for _, f := range keys(t) {
				properties[f.Tag.Get("json")] = d.field(t, f, defs)
				if f.Tag.Get("required") != "" {
					required = append(required, f.Tag.Get("json"))
				}
			}
			def["properties"] = properties
			if len(required) > 0 {
				def["required"] = required
			}
		}
		return object{"$ref": "#/$defs/" + t.Name()}
	}
	return object{"type": "string"}
}

func literal(t reflect.Type, text string) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return text == "true"
	case reflect.Int:
		n, _ := strconv.Atoi(text)
		return n
	}
	return text
}
