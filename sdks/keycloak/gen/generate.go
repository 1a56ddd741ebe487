package main

import (
	"bytes"
	"embed"
	"fmt"
	"go/format"
	"path"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var templates embed.FS

// generate gives the text of every file, by its slash-separated path in the
// SDK's module.
func generate(blocks []block) (map[string][]byte, error) {
	tmpl, err := template.New("").Funcs(template.FuncMap{"title": title, "lower": lower}).
		ParseFS(templates, "*.tmpl")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	add := func(name, tmplName string, data any) error {
		var text bytes.Buffer
		if err := tmpl.ExecuteTemplate(&text, tmplName, data); err != nil {
			return err
		}
		formatted, err := format.Source(text.Bytes())
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		files[name] = formatted
		return nil
	}

	packages := map[string]*goPackage{}
	for _, b := range blocks {
		p := packages[b.module()]
		if p == nil {
			p = &goPackage{module: b.module()}
			packages[b.module()] = p
		}
		p.add(b)
	}
	for _, p := range packages {
		if err := p.findForms(); err != nil {
			return nil, err
		}
		for _, r := range p.Resources {
			if err := add(path.Join(p.dir(), lower(r.Name)+".go"), "resource.go.tmpl", r); err != nil {
				return nil, err
			}
			if r.IsProvider() {
				if err := add(path.Join(p.dir(), "config", "config.go"), "config.go.tmpl", r); err != nil {
					return nil, err
				}
			}
		}
		for _, f := range p.Functions {
			if err := add(path.Join(p.dir(), f.file), "function.go.tmpl", f); err != nil {
				return nil, err
			}
		}
		if len(p.Types) > 0 {
			if err := add(path.Join(p.dir(), "pulumiTypes.go"), "types.go.tmpl", p); err != nil {
				return nil, err
			}
		}
		if err := add(path.Join(p.dir(), "init.go"), "init.go.tmpl", p); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// A goPackage is what one package's templates see.
type goPackage struct {
	module    string
	Resources []resource
	Functions []function
	Types     []*nested
}

func (p *goPackage) dir() string {
	if p.module == "index" {
		return "go/keycloak"
	}
	return "go/keycloak/" + p.module
}

// Name is the name of the Go package.
func (p *goPackage) Name() string { return path.Base(p.dir()) }

func (p *goPackage) add(b block) {
	switch b.Kind {
	case "provider":
		p.Resources = append(p.Resources, resource{block: b, Package: p.Name(), Name: "Provider"})
	case "resource":
		p.Resources = append(p.Resources, resource{block: b, Package: p.Name(), Name: b.last()})
	case "function":
		p.Functions = append(p.Functions, function{block: b, Package: p.Name(), file: b.last() + ".go"})
	case "type":
		p.Types = append(p.Types, &nested{block: b, Name: title(b.last())})
	}
}

// findForms settles what depends on the package as a whole: the name of a
// function, and which of the forms X, XPtr and XArray a nested type is used in.
func (p *goPackage) findForms() error {
	getters := map[string]bool{}
	for _, r := range p.Resources {
		getters["Get"+r.Name] = true
	}
	for i, f := range p.Functions {
		name := title(f.last())
		if getters[name] {
			name = "Lookup" + strings.TrimPrefix(name, "Get")
		}
		p.Functions[i].Name = name
	}

	types := map[string]*nested{}
	for _, t := range p.Types {
		types[t.last()] = t
	}
	use := func(b block, where ...func(property) presence) error {
		for _, prop := range b.Properties {
			if !prop.Type.isNested() {
				continue
			}
			t := types[prop.Type.elem()]
			if t == nil {
				return fmt.Errorf("%s: %s has the type %s, which no block describes", b.Token, prop.Name, prop.Type)
			}
			if prop.Type.isMap() {
				return fmt.Errorf("%s: %s: a map of a nested type has no template", b.Token, prop.Name)
			}
			t.Array = t.Array || prop.Type.isArray()
			for _, side := range where {
				t.Ptr = t.Ptr || !prop.Type.isArray() && side(prop) == optional
			}
		}
		return nil
	}
	in := func(p property) presence { return p.Input }
	out := func(p property) presence { return p.Output }
	state := func(property) presence { return optional }
	for _, r := range p.Resources {
		if err := use(r.block, in, out, state); err != nil {
			return err
		}
	}
	for _, f := range p.Functions {
		if err := use(f.block, in, out); err != nil {
			return err
		}
	}
	for _, t := range p.Types {
		if err := use(t.block, in); err != nil {
			return err
		}
	}
	return nil
}

// A field is a property as one struct of Go has it.
type field struct {
	property
	presence presence
}

func (f field) Field() string  { return title(f.Name) }
func (f field) Plain() string  { return f.Type.plain(f.presence) }
func (f field) Input() string  { return f.Type.lifted(f.presence) + "Input" }
func (f field) Output() string { return f.Type.lifted(f.presence) + "Output" }
func (f field) Required() bool { return f.presence == required }

// OptionalPlain and OptionalOutput are the types that the field has when the
// struct around it may be missing.
func (f field) OptionalPlain() string  { return f.Type.plain(optional) }
func (f field) OptionalOutput() string { return f.Type.lifted(optional) + "Output" }

// Addressed says that OptionalPlain is a pointer to Plain.
func (f field) Addressed() bool { return f.Plain() != f.OptionalPlain() }

// Scalar is the type's name without pointer, array or map.
func (f field) Scalar() string { return f.Type.elem() }

// Tag is the struct tag of the field.
func (f field) Tag() string { return "`pulumi:\"" + f.Name + "\"`" }

func (b block) fields(side func(property) presence) []field {
	var fields []field
	for _, p := range b.Properties {
		if s := side(p); s != absent {
			fields = append(fields, field{p, s})
		}
	}
	return fields
}

// Inputs are the properties that go in, Outputs those that come out.
func (b block) Inputs() []field {
	return b.fields(func(p property) presence { return p.Input })
}

func (b block) Outputs() []field {
	return b.fields(func(p property) presence { return p.Output })
}

// HasRequired says whether an input has to be given.
func (b block) HasRequired() bool {
	for _, f := range b.Inputs() {
		if f.Required() {
			return true
		}
	}
	return false
}

type resource struct {
	block
	Package, Name string
}

func (r resource) IsProvider() bool { return r.Kind == "provider" }

// Outputs leaves out what a provider does not give back: its outputs are
// strings only.
func (r resource) Outputs() []field {
	return r.fields(func(p property) presence {
		if r.IsProvider() && p.Type != "string" {
			return absent
		}
		return p.Output
	})
}

// State is what may narrow down a resource that is read: its outputs, each
// optional.
func (r resource) State() []field {
	return r.fields(func(p property) presence {
		if p.Output == absent {
			return absent
		}
		return optional
	})
}

// Module is the part of the token that a resource registers itself under.
func (r resource) Module() string {
	return strings.TrimSuffix(strings.TrimPrefix(r.Token, "keycloak:"), ":"+r.Name)
}

// Secrets are the properties that stay secret whatever the program passes.
func (r resource) Secrets() []field {
	var secrets []field
	for _, f := range r.Inputs() {
		if f.Secret {
			secrets = append(secrets, f)
		}
	}
	return secrets
}

type function struct {
	block
	Package, Name, file string
}

type nested struct {
	block
	Name       string
	Ptr, Array bool // the forms that are used besides the type itself
}
