package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The provider's schema is not part of the project. Where it lies beside the
// checkout, the table and the Go are held against it.
const schemaFile = "../../../../shared/provider/keycloak-5.4.0.schema.json"

type schema struct {
	Version   string
	Config    struct{ Variables map[string]schemaProperty }
	Provider  schemaObject
	Resources map[string]schemaObject
	Functions map[string]struct{ Inputs, Outputs schemaObject }
	Types     map[string]schemaObject
}

type schemaObject struct {
	Properties, InputProperties map[string]schemaProperty
	Required, RequiredInputs    []string
	StateInputs                 *schemaObject
	Aliases                     []struct{ Type string }
}

type schemaProperty struct {
	Type                        string
	Ref                         string `json:"$ref"`
	Items, AdditionalProperties *schemaProperty
	Secret                      bool
	Default                     any
	DefaultInfo                 struct{ Environment []string }
}

// table is the property's type as resources.txt should write it.
func (p schemaProperty) table() string {
	switch {
	case p.Ref != "":
		return p.Ref[strings.LastIndex(p.Ref, ":")+1:]
	case p.Items != nil:
		return "[]" + p.Items.table()
	case p.AdditionalProperties != nil:
		return "map[string]" + p.AdditionalProperties.table()
	}
	return map[string]string{"string": "string", "integer": "int", "boolean": "bool"}[p.Type]
}

// goTypes are the types that Pulumi's generator gives the property in a struct
// of known values, of inputs and of outputs.
func (p schemaProperty) goTypes(required bool) (plain, input, output string) {
	scalars := map[string][2]string{
		"string":  {"string", "pulumi.String"},
		"integer": {"int", "pulumi.Int"},
		"boolean": {"bool", "pulumi.Bool"},
	}
	element := p
	prefix, suffix := "", ""
	switch {
	case p.Items != nil:
		element, prefix, suffix = *p.Items, "[]", "Array"
	case p.AdditionalProperties != nil:
		element, prefix, suffix = *p.AdditionalProperties, "map[string]", "Map"
	case !required:
		prefix, suffix = "*", "Ptr"
	}
	names, ok := scalars[element.Type]
	if element.Ref != "" {
		name := element.table()
		name = strings.ToUpper(name[:1]) + name[1:]
		names, ok = [2]string{name, name}, true
	}
	if !ok {
		return "unknown", "unknown", "unknown"
	}
	lifted := names[1] + suffix
	return prefix + names[0], lifted + "Input", lifted + "Output"
}

func TestSchema(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash(schemaFile))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the provider's schema is not beside the checkout (%s): the SDK is not compared with it", schemaFile)
	}
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	code := readStructs(t)

	for _, b := range readTable(t) {
		t.Run(b.Kind+" "+b.last(), func(t *testing.T) {
			var want []property
			switch b.Kind {
			case "provider":
				if !maps.EqualFunc(s.Config.Variables, s.Provider.InputProperties, func(a, b schemaProperty) bool {
					return reflect.DeepEqual(a, b)
				}) {
					t.Error("the configuration differs from the provider's inputs")
				}
				want = wantProperties(t, s.Provider.InputProperties, s.Provider.RequiredInputs, s.Provider.Properties, s.Provider.Required)
				code.compareInputs(t, "keycloak.Provider", s.Provider)
				strs := maps.Clone(s.Provider.Properties)
				maps.DeleteFunc(strs, func(_ string, p schemaProperty) bool { return p.Type != "string" })
				code.compare(t, "keycloak.Provider", outputs, strs, s.Provider.Required)
			case "resource":
				r, ok := s.Resources[b.Token]
				if !ok {
					t.Fatalf("the schema has no resource %s", b.Token)
				}
				want = wantProperties(t, r.InputProperties, r.RequiredInputs, r.Properties, r.Required)
				formerly := ""
				for _, a := range r.Aliases {
					formerly += a.Type
				}
				if b.Formerly != formerly {
					t.Errorf("formerly is %q, want %q", b.Formerly, formerly)
				}
				name := goName(b)
				code.compareInputs(t, name, r)
				code.compare(t, name, outputs, r.Properties, r.Required)
				code.compare(t, lowerName(name)+"State", plain, r.StateInputs.Properties, nil)
				code.compare(t, name+"State", untagged, r.StateInputs.Properties, nil)
			case "function":
				f, ok := s.Functions[b.Token]
				if !ok {
					t.Fatalf("the schema has no function %s", b.Token)
				}
				want = wantProperties(t, f.Inputs.Properties, f.Inputs.Required, f.Outputs.Properties, f.Outputs.Required)
				name := goName(b)
				for token := range s.Resources {
					// GetClient is taken by the resource: the function is LookupClient.
					r := block{Token: token}
					if r.module() == b.module() && r.last() == strings.TrimPrefix(b.last(), "get") {
						name = strings.Replace(name, ".Get", ".Lookup", 1)
					}
				}
				code.compare(t, name+"Args", plain, f.Inputs.Properties, f.Inputs.Required)
				code.compare(t, name+"OutputArgs", inputs, f.Inputs.Properties, f.Inputs.Required)
				code.compare(t, name+"Result", plain, f.Outputs.Properties, f.Outputs.Required)
			case "type":
				typ, ok := s.Types[b.Token]
				if !ok {
					t.Fatalf("the schema has no type %s", b.Token)
				}
				want = wantProperties(t, typ.Properties, typ.Required, nil, nil)
				code.compare(t, goName(b), plain, typ.Properties, typ.Required)
				code.compare(t, goName(b)+"Args", inputs, typ.Properties, typ.Required)
			}
			if !slices.Equal(b.Properties, want) {
				t.Errorf("resources.txt has\n%v\nwant\n%v", b.Properties, want)
			}
		})
	}
}

// goName is the package and the name of what a block declares.
func goName(b block) string {
	name := b.last()
	pkg := b.module()
	if pkg == "index" {
		pkg = "keycloak"
	}
	return pkg + "." + strings.ToUpper(name[:1]) + name[1:]
}

func lowerName(name string) string {
	pkg, name, _ := strings.Cut(name, ".")
	return pkg + "." + strings.ToLower(name[:1]) + name[1:]
}

// wantProperties are the lines that the table should have, sorted by name.
func wantProperties(t *testing.T, in map[string]schemaProperty, inRequired []string, out map[string]schemaProperty, outRequired []string) []property {
	t.Helper()
	side := func(name string, props map[string]schemaProperty, isRequired []string) presence {
		if _, ok := props[name]; !ok {
			return absent
		}
		if slices.Contains(isRequired, name) {
			return required
		}
		return optional
	}
	all := maps.Clone(out)
	if all == nil {
		all = map[string]schemaProperty{}
	}
	maps.Copy(all, in)
	var want []property
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := all[name]
		if o, ok := out[name]; ok && (o.table() != p.table() || o.Secret != p.Secret) {
			t.Errorf("%s: the input and the output differ, which the table cannot say", name)
		}
		w := property{
			Name:   name,
			Type:   goType(p.table()),
			Input:  side(name, in, inRequired),
			Output: side(name, out, outRequired),
			Secret: p.Secret,
		}
		if p.Default != nil {
			w.Default = fmt.Sprint(p.Default)
			w.Env = strings.Join(p.DefaultInfo.Environment, ",")
		}
		want = append(want, w)
	}
	return want
}

// structs are the fields of every generated struct by "package.Name", each as
// "Field Type tag".
type structs map[string][]string

func readStructs(t *testing.T) structs {
	t.Helper()
	all := structs{}
	err := filepath.WalkDir("../go", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			typ, ok := spec.Type.(*ast.StructType)
			if !ok {
				return false
			}
			lines := []string{}
			for _, f := range typ.Fields.List {
				if len(f.Names) == 0 {
					continue
				}
				var name strings.Builder
				if err := printer.Fprint(&name, fset, f.Type); err != nil {
					t.Error(err)
				}
				line := f.Names[0].Name + " " + name.String()
				if f.Tag != nil {
					line += " " + f.Tag.Value
				}
				lines = append(lines, line)
			}
			all[file.Name.Name+"."+spec.Name.Name] = lines
			return false
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// form is how a struct shows its properties.
type form int

const (
	plain    form = iota // known values, tagged
	inputs               // inputs, tagged
	untagged             // inputs, without tags
	outputs              // outputs, tagged
)

func (all structs) compareInputs(t *testing.T, name string, r schemaObject) {
	t.Helper()
	all.compare(t, lowerName(name)+"Args", plain, r.InputProperties, r.RequiredInputs)
	all.compare(t, name+"Args", untagged, r.InputProperties, r.RequiredInputs)
}

func (all structs) compare(t *testing.T, name string, f form, props map[string]schemaProperty, isRequired []string) {
	t.Helper()
	got, ok := all[name]
	if !ok {
		t.Errorf("there is no struct %s", name)
		return
	}
	var want []string
	for _, prop := range slices.Sorted(maps.Keys(props)) {
		known, in, out := props[prop].goTypes(slices.Contains(isRequired, prop))
		line := strings.ToUpper(prop[:1]) + prop[1:] + " "
		tag := " `pulumi:\"" + prop + "\"`"
		line += map[form]string{plain: known + tag, inputs: in + tag, untagged: in, outputs: out + tag}[f]
		want = append(want, line)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s has\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
