package main

import "strings"

// A goType is a type as resources.txt writes it: string, int, bool, the name
// of a type block, or []T or map[string]T of one of these.
type goType string

func (t goType) isArray() bool { return strings.HasPrefix(string(t), "[]") }
func (t goType) isMap() bool   { return strings.HasPrefix(string(t), "map[string]") }

// elem is the type without the array or map around it.
func (t goType) elem() string {
	return strings.TrimPrefix(strings.TrimPrefix(string(t), "[]"), "map[string]")
}

func (t goType) isNested() bool {
	switch t.elem() {
	case "string", "int", "bool":
		return false
	}
	return true
}

// plain is the type that holds a known value: *string, []string, *RealmOtpPolicy.
func (t goType) plain(p presence) string {
	name := t.elem()
	if t.isNested() {
		name = title(name)
	}
	switch {
	case t.isArray():
		return "[]" + name
	case t.isMap():
		return "map[string]" + name
	case p == optional:
		return "*" + name
	}
	return name
}

// lifted is the common part of the names of the Input and the Output type:
// pulumi.StringPtr, pulumi.StringArray, RealmOtpPolicyPtr.
func (t goType) lifted(p presence) string {
	name := title(t.elem())
	if !t.isNested() {
		name = "pulumi." + name
	}
	switch {
	case t.isArray():
		return name + "Array"
	case t.isMap():
		return name + "Map"
	case p == optional:
		return name + "Ptr"
	}
	return name
}

// title is a property's name as a field: only its first letter changes
// (baseUrl gives BaseUrl).
func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

func lower(name string) string { return strings.ToLower(name[:1]) + name[1:] }
