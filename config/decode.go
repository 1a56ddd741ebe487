package config

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
)

// decoder fills the configuration from JSON values, guided by the struct's
// tags, and keeps every problem with the path of its key. Package json stops at
// the first one and can't say where it stood.
type decoder struct {
	problems []problem
}

func (d *decoder) errorf(path, format string, args ...any) {
	d.problems = append(d.problems, problem{path, fmt.Sprintf(format, args...)})
}

// whole is the type of the whole configuration.
var whole = reflect.TypeFor[Config]()

//go:embed schema.json
var schemaJSON []byte

// meaning is what the schema says of a key of a type: the comment above the field.
func meaning(of reflect.Type, key string) string {
	type object struct {
		Properties map[string]struct{ Description string }
	}
	var schema struct {
		Properties struct{ Config object }
		Defs       map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(schemaJSON, &schema); err != nil {
		return "docs/configuration.md says what it is"
	}
	if of == whole {
		return schema.Properties.Config.Properties[Project+":"+key].Description
	}
	return schema.Defs[of.Name()].Properties[key].Description
}

// whole decodes the configuration.
func (d *decoder) whole(cfg *Config, src Source) {
	v := reflect.ValueOf(cfg).Elem()
	for _, f := range fields(whole) {
		raw, _ := src.Value(src.Project + ":" + jsonName(f))
		if raw == "" {
			d.field(jsonName(f), whole, f, v.FieldByIndex(f.Index), nil)
			continue
		}
		d.top(f, v.FieldByIndex(f.Index), raw)
	}
}

// top decodes one top-level key, which Pulumi hands over as a string: plain for
// strings, JSON for the rest.
func (d *decoder) top(f reflect.StructField, v reflect.Value, raw string) {
	path := jsonName(f)
	if f.Type.Kind() == reflect.String {
		var structure any
		if f.Tag.Get("secret") == "" && strings.ContainsAny(raw[:1], "[{") && json.Unmarshal([]byte(raw), &structure) == nil {
			d.errorf(path, "expected %s, got %s", kindOf(f.Type), describe(structure))
			return
		}
		d.field(path, whole, f, v, raw)
		return
	}
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil || dec.More() {
		d.errorf(path, "expected %s, got a text", kindOf(f.Type))
		return
	}
	d.field(path, whole, f, v, value)
}

// object decodes the members of one object, fills in defaults and refuses what
// it does not know.
func (d *decoder) object(path string, v reflect.Value, members map[string]any) {
	known := map[string]bool{}
	for _, f := range fields(v.Type()) {
		name := jsonName(f)
		known[name] = true
		d.field(path+"."+name, v.Type(), f, v.FieldByIndex(f.Index), members[name])
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !known[name] {
			d.errorf(path+"."+name, "%s", unknownKey(name, known))
		}
	}
}

// field decodes one field of a struct of type of, or applies its default.
func (d *decoder) field(path string, of reflect.Type, f reflect.StructField, v reflect.Value, value any) {
	if (value == false || value == "false") && slices.Contains(strings.Split(f.Tag.Get("enum"), ","), "off") {
		value = "off" // what YAML makes of an unquoted off
	}
	if value == nil || value == "" {
		if def := f.Tag.Get("default"); def != "" {
			d.value(path, v, scalar(f.Type, def))
		} else if f.Tag.Get("required") != "" {
			d.errorf(path, "is missing: %s", meaning(of, jsonName(f)))
		} else if f.Type.Kind() == reflect.Struct {
			d.object(path, v, nil)
		}
		return
	}
	before := len(d.problems)
	d.value(path, v, value)
	if enum := f.Tag.Get("enum"); enum != "" && len(d.problems) == before {
		if got := fmt.Sprint(v.Interface()); !slices.Contains(strings.Split(enum, ","), got) {
			d.errorf(path, "%s", noneOf(got, strings.Split(enum, ",")))
		}
	}
}

func (d *decoder) value(path string, v reflect.Value, value any) {
	wrong := func() { d.errorf(path, "expected %s, got %s", kindOf(v.Type()), describe(value)) }
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(path, p.Elem(), value)
		v.Set(p)
	case reflect.String:
		s, ok := value.(string)
		if !ok {
			wrong()
			return
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := value.(bool)
		if !ok {
			wrong()
			return
		}
		v.SetBool(b)
	case reflect.Int:
		n, ok := value.(json.Number)
		i, err := strconv.ParseInt(string(n), 10, 32)
		if !ok || err != nil {
			wrong()
			return
		}
		v.SetInt(i)
	case reflect.Struct:
		members, ok := value.(map[string]any)
		if !ok {
			wrong()
			return
		}
		d.object(path, v, members)
	case reflect.Slice:
		if items, ok := value.([]any); ok {
			d.list(path, v, items)
		} else {
			wrong()
		}
	case reflect.Map:
		if members, ok := value.(map[string]any); ok {
			d.mapping(path, v, members)
		} else {
			wrong()
		}
	default:
		panic("config: no decoder for " + v.Type().String())
	}
}

func (d *decoder) list(path string, v reflect.Value, items []any) {
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if item == nil || item == "" {
			d.errorf(fmt.Sprintf("%s[%d]", path, i), "is empty: take it out")
			continue
		}
		d.value(fmt.Sprintf("%s[%d]", path, i), v.Index(i), item)
	}
}

func (d *decoder) mapping(path string, v reflect.Value, members map[string]any) {
	secret := v.Type() == reflect.TypeFor[Secrets]()
	v.Set(reflect.MakeMapWithSize(v.Type(), len(members)))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		member := members[name]
		// The CLI stores a secret of digits as a number.
		if n, ok := member.(json.Number); ok && secret {
			member = string(n)
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(fmt.Sprintf("%s[%q]", path, name), e, member)
		v.SetMapIndex(reflect.ValueOf(name), e)
	}
}

// unmarshal checks that text is one JSON value.
func unmarshal(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return errors.New("not valid JSON")
	}
	return nil
}

// fields are the fields of a struct that are keys.
func fields(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return !f.IsExported() })
}

func jsonName(f reflect.StructField) string { return f.Tag.Get("json") }

// scalar turns the text of a default tag into the value that JSON would give.
func scalar(t reflect.Type, text string) any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return text == "true"
	case reflect.Int:
		return json.Number(text)
	}
	return text
}

// kindOf names a type in the words of the configuration file.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.String:
		return "a text (quote it if it looks like a number)"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// describe names what was found, never its content: it may be a secret.
func describe(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case string:
		return "a text"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	}
	return "an object"
}

// unknownKey says which key an unknown one was meant to be, or which there are.
func unknownKey(name string, known map[string]bool) string {
	names := slices.Sorted(maps.Keys(known))
	if meant := nearest(name, names); meant != "" {
		return "unknown key; did you mean " + meant + "?"
	}
	return "unknown key; there are " + strings.Join(names, ", ")
}

// noneOf says which values there are, and which one was meant.
func noneOf(value string, values []string) string {
	return fmt.Sprintf("%q is none of %s%s", value, strings.Join(values, ", "), didYouMean(value, values))
}

// didYouMean is the end of a sentence about an unknown name, or "".
func didYouMean(name string, names []string) string {
	if meant := nearest(name, names); meant != "" {
		return fmt.Sprintf("; did you mean %s?", meant)
	}
	return ""
}

// nearest is the one of the names that is within two edits of name, without
// regard to case, or "". Of a short name that would be most of it.
func nearest(name string, names []string) (meant string) {
	best := 3
	for _, n := range names {
		distance := levenshtein.Distance(strings.ToLower(name), strings.ToLower(n), nil)
		if distance < best && 2*distance < len(n) {
			best, meant = distance, n
		}
	}
	return meant
}
