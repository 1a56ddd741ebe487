package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// problem is an error or a warning about the key at a path such as
// clients[1].redirectUris[0].
type problem struct{ path, text string }

// stackFile is the file Pulumi.<stack>.yaml where it lies beside Pulumi.yaml.
// The program has its values from Pulumi; the file says on which line each
// stands, and which of them stand there in plain text.
type stackFile struct {
	name    string
	project string
	config  *yaml.Node // nil where there is no such file to read
}

func readStackFile(src Source) stackFile {
	f := stackFile{name: "Pulumi." + src.Stack + ".yaml", project: src.Project}
	text, err := src.ReadFile(f.name)
	if err != nil {
		return f
	}
	var document yaml.Node
	if yaml.Unmarshal(text, &document) == nil && len(document.Content) > 0 {
		_, f.config = member(document.Content[0], "config")
	}
	return f
}

// member is an entry of a mapping: its key and its value, nil if there is none.
func member(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if value := n.Content[i+1]; n.Content[i].Value == name {
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			return n.Content[i], value
		}
	}
	return nil, nil
}

// topKey and step take a path apart.
var (
	topKey = regexp.MustCompile(`^[^.[]+`)
	step   = regexp.MustCompile(`^(?:\.([^.[]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\])`)
)

// find returns the key and the value that a path leads to, or the last ones on
// the way that the file holds.
func (f stackFile) find(path string) (key, value *yaml.Node) {
	top := topKey.FindString(path)
	full := top
	if !strings.Contains(top, ":") {
		full = f.project + ":" + top
	}
	key, value = member(f.config, full)
	for rest := path[len(top):]; value != nil; {
		m := step.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		rest = rest[len(m[0]):]
		name := m[1]
		if m[3] != "" {
			name, _ = strconv.Unquote(m[3])
		}
		if i, err := strconv.Atoi(m[2]); err == nil {
			if value.Kind != yaml.SequenceNode || i >= len(value.Content) {
				break
			}
			key, value = value.Content[i], value.Content[i]
			continue
		}
		k, v := member(value, name)
		if k == nil {
			break
		}
		key, value = k, v
	}
	return key, value
}

// plain names the members of a key of secrets that stand in the file without
// encryption. Pulumi calls the whole key secret as soon as one of them is.
func (f stackFile) plain(key string) (names []string) {
	_, value := f.find(key)
	if value == nil || value.Kind != yaml.MappingNode || encrypted(value) {
		return nil
	}
	for i := 0; i+1 < len(value.Content); i += 2 {
		if !encrypted(value.Content[i+1]) {
			names = append(names, value.Content[i].Value)
		}
	}
	return names
}

// inProjectFile says whether Pulumi.yaml gives a key a value, which stands there
// in plain text. It holds where the stack file does not set the key.
func inProjectFile(src Source, key string) bool {
	text, err := src.ReadFile("Pulumi.yaml")
	if err != nil {
		return false
	}
	var project struct {
		Config map[string]struct{ Default, Value any }
	}
	if yaml.Unmarshal(text, &project) != nil {
		return false // Pulumi itself reports it
	}
	for _, name := range []string{key, src.Project + ":" + key} {
		declared := project.Config[name]
		for _, value := range []any{declared.Default, declared.Value} {
			if m, ok := value.(map[string]any); value != nil && value != "" && !(ok && len(m) == 0) {
				return true
			}
		}
	}
	return false
}

// encrypted says that a value is what the CLI makes of a secret: {secure: …}.
func encrypted(n *yaml.Node) bool {
	key, _ := member(n, "secure")
	return key != nil && len(n.Content) == 2
}

// sets says whether the file holds a top-level key.
func (f stackFile) sets(key string) bool {
	found, _ := member(f.config, f.project+":"+key)
	return found != nil
}

// line is a problem as people read it: the path of the key, what is wrong, and
// then whose key it is and where it stands, as far as that is known.
func (f stackFile) line(cfg *Config, p problem) string {
	where := cfg.named(p.path)
	if key, _ := f.find(p.path); key != nil {
		where = append(where, fmt.Sprintf("%s:%d", f.name, key.Line))
	}
	text := p.path + ": " + p.text
	if where != nil {
		text += " (" + strings.Join(where, ", ") + ")"
	}
	return text
}

// element is the beginning of the path of something in a top-level list.
var element = regexp.MustCompile(`^([A-Za-z]+)\[(\d+)\]`)

// named says in words whose key stands at a path: client "portal" for
// clients[1].name. The first field of what a list holds is its name.
func (c *Config) named(path string) []string {
	m := element.FindStringSubmatch(path)
	if m == nil {
		return nil
	}
	for _, f := range fields(reflect.TypeFor[Config]()) {
		if jsonName(f) != m[1] || f.Type.Kind() != reflect.Slice {
			continue
		}
		list := reflect.ValueOf(c).Elem().FieldByIndex(f.Index)
		if i, err := strconv.Atoi(m[2]); err == nil && i < list.Len() {
			if name := list.Index(i).Field(0).String(); name != "" {
				return []string{fmt.Sprintf("%s %q", words(f.Type.Elem().Name()), name)}
			}
		}
	}
	return nil
}

// words is the name of a type in the words of a sentence: signing key for
// SigningKey.
func words(typ string) string {
	if typ == strings.ToUpper(typ) {
		return typ
	}
	var b strings.Builder
	for i, r := range typ {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}
