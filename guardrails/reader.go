package guardrails

import (
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// reader reads inputs through secrets and outputs, and remembers whether one of
// those that were asked for is not known yet.
type reader struct {
	root    resource.PropertyValue
	unknown bool
}

// bare is a value without what wraps it.
func bare(v resource.PropertyValue) (plain resource.PropertyValue, secret, known bool) {
	for {
		switch {
		case v.IsSecret():
			v, secret = v.SecretValue().Element, true
		case v.IsOutput():
			o := v.OutputValue()
			secret = secret || o.Secret
			if !o.Known {
				return resource.PropertyValue{}, secret, false
			}
			v = o.Element
		case v.IsComputed():
			return resource.PropertyValue{}, secret, false
		default:
			return v, secret, true
		}
	}
}

func (r *reader) get(path ...string) resource.PropertyValue {
	v, _, known := bare(r.root)
	for _, key := range path {
		if !known || !v.IsObject() {
			break
		}
		v, _, known = bare(v.ObjectValue()[resource.PropertyKey(key)])
	}
	if !known {
		r.unknown = true
		return resource.PropertyValue{}
	}
	return v
}

func (r *reader) has(path ...string) bool { return !r.get(path...).IsNull() }

// boolean also reads the text of a boolean, which is how providers and
// free-form inputs take it.
func (r *reader) boolean(path ...string) bool {
	v := r.get(path...)
	return v.IsBool() && v.BoolValue() || v.IsString() && v.StringValue() == "true"
}

func (r *reader) text(path ...string) string {
	if v := r.get(path...); v.IsString() {
		return v.StringValue()
	}
	return ""
}

func (r *reader) strings(path ...string) (list []string) {
	for _, element := range r.elements(path...) {
		if element.IsString() {
			list = append(list, element.StringValue())
		}
	}
	return list
}

func (r *reader) objects(path ...string) (list []*reader) {
	for _, element := range r.elements(path...) {
		list = append(list, &reader{root: element})
	}
	return list
}

func (r *reader) elements(path ...string) (list []resource.PropertyValue) {
	array := r.get(path...)
	if !array.IsArray() {
		return nil
	}
	for _, element := range array.ArrayValue() {
		plain, _, known := bare(element)
		r.unknown = r.unknown || !known
		list = append(list, plain)
	}
	return list
}

// leaves calls f for each value that is neither object nor array, in the order
// of the paths. Elements of an array have the path of the array.
func (r *reader) leaves(f func(path []string, value resource.PropertyValue, secret bool)) {
	var walk func(path []string, v resource.PropertyValue, secret bool)
	walk = func(path []string, v resource.PropertyValue, secret bool) {
		plain, marked, known := bare(v)
		secret = secret || marked
		switch {
		case !known:
			r.unknown = r.unknown || !secret
		case plain.IsObject():
			for _, key := range slices.Sorted(maps.Keys(plain.ObjectValue())) {
				walk(append(slices.Clone(path), string(key)), plain.ObjectValue()[key], secret)
			}
		case plain.IsArray():
			for _, element := range plain.ArrayValue() {
				walk(path, element, secret)
			}
		default:
			f(path, plain, secret)
		}
	}
	walk(nil, r.root, false)
}
