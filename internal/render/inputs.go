package render

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
)

// object is a JSON object of Keycloak's.
type object = map[string]any

// field is one input and the key of Keycloak's that it becomes. An input that
// is left out becomes value; without a value the key is left out too.
type field struct {
	input, key string
	value      any // bool, int, string or []string
}

// inputs reads the inputs of one resource, or of an object inside it, and
// remembers which it has read: one that nobody reads is an error, so that
// nothing that a program says is dropped.
type inputs struct {
	res    *monitor.Resource
	path   string // of a nested object, with a dot at the end
	values resource.PropertyMap
	read   map[resource.PropertyKey]bool
	parent *inputs // of a nested object
	nested []*inputs
	errs   []error
	secret func(string) // is told each secret string
}

func newInputs(r *monitor.Resource, secret func(string)) *inputs {
	return &inputs{res: r, values: r.Inputs, read: map[resource.PropertyKey]bool{}, secret: secret}
}

// fail records what is wrong with the resource.
func (in *inputs) fail(format string, args ...any) {
	root := in
	for root.parent != nil {
		root = root.parent
	}
	root.errs = append(root.errs, fmt.Errorf("render: %s %q: "+format, append([]any{in.res.Type, in.res.Name}, args...)...))
}

// finish returns what was wrong, unread inputs included.
func (in *inputs) finish() []error {
	for _, key := range slices.Sorted(maps.Keys(in.values)) {
		if !in.read[key] && !isNull(in.values[key]) {
			in.fail("unknown input %s%s", in.path, key)
		}
	}
	for _, n := range in.nested {
		n.finish()
	}
	return in.errs
}

func isNull(v resource.PropertyValue) bool {
	for v.IsSecret() {
		v = v.SecretValue().Element
	}
	return v.IsNull()
}

// get returns an input as encoding/json would decode it, nil if it is left out.
func (in *inputs) get(key string) any {
	in.read[resource.PropertyKey(key)] = true
	v, ok := in.values[resource.PropertyKey(key)]
	if !ok || isNull(v) {
		return nil
	}
	if v.ContainsSecrets() {
		eachSecret(v, false, in.secret)
	}
	return monitor.Plain(v)
}

// eachSecret calls f with each string in v that is secret.
func eachSecret(v resource.PropertyValue, secret bool, f func(string)) {
	switch {
	case v.IsSecret():
		eachSecret(v.SecretValue().Element, true, f)
	case v.IsString() && secret:
		f(v.StringValue())
	case v.IsArray():
		for _, e := range v.ArrayValue() {
			eachSecret(e, secret, f)
		}
	case v.IsObject():
		for _, e := range v.ObjectValue() {
			eachSecret(e, secret, f)
		}
	}
}

// ignore takes inputs that say nothing about the representation.
func (in *inputs) ignore(keys ...string) {
	for _, key := range keys {
		in.read[resource.PropertyKey(key)] = true
	}
}

// refuse takes inputs that can't be rendered, and says why if one is set.
func (in *inputs) refuse(key, why string) {
	if v := in.get(key); v != nil && v != false {
		in.fail("input %s%s can't be rendered: %s", in.path, key, why)
	}
}

func read[T any](in *inputs, key string, value T) T {
	switch v := in.get(key).(type) {
	case nil:
		return value
	case T:
		return v
	default:
		in.fail("input %s%s is a %T where a %T is expected", in.path, key, v, value)
		return value
	}
}

func (in *inputs) str(key string) string           { return read(in, key, "") }
func (in *inputs) boolean(key string, v bool) bool { return read(in, key, v) }
func (in *inputs) number(key string, v int) int    { return int(read(in, key, float64(v))) }

func (in *inputs) strs(key string) []string {
	list := []string{}
	for _, v := range read[[]any](in, key, nil) {
		s, ok := v.(string)
		if !ok {
			in.fail("input %s%s holds a %T where a string is expected", in.path, key, v)
		}
		list = append(list, s)
	}
	return list
}

func (in *inputs) strMap(key string) map[string]string {
	m := map[string]string{}
	for k, v := range read[map[string]any](in, key, nil) {
		m[k] = text(v)
	}
	return m
}

// multi is a map of attributes as Keycloak has them. The provider separates
// the values of one attribute by "##".
func (in *inputs) multi(key string) object {
	m := object{}
	for k, v := range in.strMap(key) {
		m[k] = strings.Split(v, "##")
	}
	return m
}

// name is the input of that name, or what Pulumi's auto-naming makes of the
// logical name: with a suffix, here one that stays the same.
func (in *inputs) name() string {
	if name := in.str("name"); name != "" {
		return name
	}
	return in.res.Name + "-" + stableID(in.res.URN)[:7]
}

// duration reads a Go duration such as 5m; ok says whether it is there.
func (in *inputs) duration(key string) (d time.Duration, ok bool) {
	s := in.str(key)
	if s == "" {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		in.fail("input %s%s: %q is not a duration such as 5m or 10h", in.path, key, s)
	}
	return d, err == nil
}

// object reads a nested object; ok says whether it is there.
func (in *inputs) object(key string) (nested *inputs, ok bool) {
	list := in.nest(key, []any{in.get(key)})
	if list[0].values == nil {
		return list[0], false
	}
	return list[0], true
}

// objects reads a list of nested objects.
func (in *inputs) objects(key string) []*inputs {
	return in.nest(key, read[[]any](in, key, nil))
}

func (in *inputs) nest(key string, list []any) []*inputs {
	var nested []*inputs
	for i, v := range list {
		n := &inputs{res: in.res, path: in.path + key + ".", read: map[resource.PropertyKey]bool{}, parent: in, secret: in.secret}
		if m, ok := v.(map[string]any); ok {
			n.values = resource.NewPropertyMapFromMap(m)
		} else if v != nil {
			in.fail("input %s%s[%d] is a %T where an object is expected", in.path, key, i, v)
		}
		nested = append(nested, n)
	}
	in.nested = append(in.nested, nested...)
	return nested
}

// set puts fields into a representation with their own JSON types.
func (in *inputs) set(rep object, fields []field) {
	for _, f := range fields {
		v := in.get(f.input)
		switch {
		case v == nil:
			v = f.value
		case f.value != nil && !sameKind(v, f.value):
			in.fail("input %s%s is a %T where a %T is expected", in.path, f.input, v, f.value)
		}
		if n, ok := v.(float64); ok {
			v = int(n)
		}
		if v != nil {
			rep[f.key] = v
		}
	}
}

func sameKind(v, want any) bool {
	switch want.(type) {
	case int:
		_, ok := v.(float64)
		return ok
	case []string:
		_, ok := v.([]any)
		return ok
	}
	return fmt.Sprintf("%T", v) == fmt.Sprintf("%T", want)
}

// config puts fields into a map of strings, as Keycloak keeps attributes and
// the configuration of mappers. It drops what is empty, as Keycloak does.
func (in *inputs) config(into map[string]string, fields []field) {
	rep := object{}
	in.set(rep, fields)
	for key, v := range rep {
		if s := text(v); s != "" {
			into[key] = s
		}
	}
}

// extra adds the free entries of an input over what is there.
func (in *inputs) extra(key string, into map[string]string) { maps.Copy(into, in.strMap(key)) }

// text is a value as Keycloak writes it where it keeps strings.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = text(e)
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v)
}

// single is configuration as components have it: each key a list of one.
func single(config map[string]string) object {
	lists := object{}
	for k, v := range config {
		lists[k] = []string{v}
	}
	return lists
}
