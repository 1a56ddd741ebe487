package main

import (
	"fmt"
	"strings"
)

// A block is one entry of resources.txt: a provider, a resource, a function or
// a type that the others nest.
type block struct {
	Kind       string // "provider", "resource", "function" or "type"
	Token      string // "keycloak:openid/client:Client"
	Formerly   string // an earlier token of a resource, or ""
	Properties []property
}

// A property is one line of a block.
type property struct {
	Name          string
	Type          goType
	Input, Output presence // of a type block, Input alone
	Secret        bool
	Default, Env  string // a number, and the variable that is read before it
}

// presence says whether a property is there on the way in, or out.
type presence string

const (
	absent   presence = "-"
	optional presence = "optional"
	required presence = "required"
)

// module is the part of the token that names the Go package: "index" (the
// package keycloak itself), "ldap", "oidc" or "openid".
func (b block) module() string {
	if b.Kind == "provider" {
		return "index"
	}
	_, rest, _ := strings.Cut(b.Token, ":")
	module, _, _ := strings.Cut(rest, "/")
	return module
}

// last is the part of the token after its last colon.
func (b block) last() string {
	return b.Token[strings.LastIndex(b.Token, ":")+1:]
}

// parse reads the table, whose head describes its format. An error names the
// line.
func parse(table string) ([]block, error) {
	var blocks []block
	for i, line := range strings.Split(table, "\n") {
		words := strings.Fields(line)
		var err error
		switch {
		case len(words) == 0 || strings.HasPrefix(line, "#"):
		case !strings.HasPrefix(line, " "):
			var b block
			b, err = parseHead(words)
			blocks = append(blocks, b)
		case len(blocks) == 0:
			err = fmt.Errorf("%q stands before the first block", words[0])
		default:
			b := &blocks[len(blocks)-1]
			var p property
			p, err = parseProperty(b.Kind, words)
			b.Properties = append(b.Properties, p)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return blocks, nil
}

func parseHead(words []string) (block, error) {
	switch words[0] {
	case "provider", "resource", "function", "type":
	default:
		return block{}, fmt.Errorf("%q is no kind of block", words[0])
	}
	switch {
	case len(words) == 2:
		return block{Kind: words[0], Token: words[1]}, nil
	case len(words) == 4 && words[0] == "resource" && words[2] == "formerly":
		return block{Kind: words[0], Token: words[1], Formerly: words[3]}, nil
	}
	return block{}, fmt.Errorf("%q: want a kind and a token", strings.Join(words, " "))
}

func parseProperty(kind string, words []string) (property, error) {
	sides := 2
	if kind == "type" {
		sides = 1
	}
	if len(words) < 2+sides {
		return property{}, fmt.Errorf("%q: too few columns", strings.Join(words, " "))
	}
	p := property{Name: words[0], Type: goType(words[1]), Output: absent}
	for i, side := range []*presence{&p.Input, &p.Output}[:sides] {
		switch *side = presence(words[2+i]); *side {
		case absent, optional, required:
		default:
			return property{}, fmt.Errorf("%s: %q is not -, optional or required", p.Name, words[2+i])
		}
	}
	for _, word := range words[2+sides:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "secret":
			p.Secret = true
		case "default":
			p.Default = value
		case "env":
			p.Env = value
		default:
			return property{}, fmt.Errorf("%s: unknown mark %q", p.Name, word)
		}
	}
	return p, nil
}
