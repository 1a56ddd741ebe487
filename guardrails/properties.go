package guardrails

import (
	"context"
	"reflect"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// properties are the inputs of a resource as they will be sent: args is an Args
// struct with pulumi tags on its element type, or a map. It waits for outputs.
func properties(ctx context.Context, args pulumi.Input) resource.PropertyMap {
	if v := property(ctx, args); v.IsObject() {
		return v.ObjectValue()
	}
	return resource.PropertyMap{}
}

// property is one input. An output that fails is an unknown value: its own
// resource reports why.
func property(ctx context.Context, v any) resource.PropertyValue {
	if output, ok := v.(pulumi.Output); ok {
		return awaited(ctx, output)
	}
	if _, ok := v.(pulumi.Resource); ok {
		return resource.NewNullProperty() // no rule reads a reference
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Bool:
		return resource.NewProperty(rv.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return resource.NewProperty(float64(rv.Int()))
	case reflect.Float32, reflect.Float64:
		return resource.NewProperty(rv.Float())
	case reflect.String:
		return resource.NewProperty(rv.String())
	case reflect.Pointer:
		if rv.IsNil() {
			break
		}
		return property(ctx, rv.Elem().Interface())
	case reflect.Slice, reflect.Array:
		list := make([]resource.PropertyValue, rv.Len())
		for i := range list {
			list[i] = property(ctx, rv.Index(i).Interface())
		}
		return resource.NewProperty(list)
	case reflect.Map:
		members := resource.PropertyMap{}
		for entry := rv.MapRange(); entry.Next(); {
			members[resource.PropertyKey(entry.Key().String())] = property(ctx, entry.Value().Interface())
		}
		return resource.NewProperty(members)
	case reflect.Struct:
		return resource.NewProperty(members(ctx, v, rv))
	}
	return resource.NewNullProperty()
}

func awaited(ctx context.Context, output pulumi.Output) resource.PropertyValue {
	result, err := internals.UnsafeAwaitOutput(ctx, output)
	if err != nil || !result.Known {
		return resource.NewProperty(resource.Output{Secret: result.Secret})
	}
	element := property(ctx, result.Value)
	if result.Secret {
		return resource.MakeSecret(element)
	}
	return element
}

// members are the fields of an Args struct, whose element type has the tags, or
// of such an element.
func members(ctx context.Context, v any, rv reflect.Value) resource.PropertyMap {
	tagged := rv.Type()
	if input, ok := v.(pulumi.Input); ok {
		if tagged = input.ElementType(); tagged.Kind() == reflect.Pointer {
			tagged = tagged.Elem()
		}
	}
	fields := resource.PropertyMap{}
	for i := range rv.NumField() {
		own := rv.Type().Field(i)
		if !own.IsExported() {
			continue
		}
		field, _ := tagged.FieldByName(own.Name)
		if key, _, _ := strings.Cut(field.Tag.Get("pulumi"), ","); key != "" {
			fields[resource.PropertyKey(key)] = property(ctx, rv.Field(i).Interface())
		}
	}
	return fields
}
