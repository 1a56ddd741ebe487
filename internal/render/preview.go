package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/policy"
)

const hidden = "[secret]"

// Preview writes what a program registered: the tree of resources with their
// inputs, and the access policy among its outputs. Secrets are masked.
func Preview(w io.Writer, result *monitor.Result) error {
	children := map[string][]*monitor.Resource{}
	for _, r := range result.Resources {
		children[r.Parent] = append(children[r.Parent], r)
	}
	var out strings.Builder
	var write func(r *monitor.Resource, first, rest string)
	write = func(r *monitor.Resource, first, rest string) {
		fmt.Fprintf(&out, "%s%s  %s%s\n", first, r.Type, r.Name, options(r))
		below := children[r.URN]
		slices.SortFunc(below, func(x, y *monitor.Resource) int {
			return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.Name, y.Name))
		})
		bar := "  "
		if len(below) > 0 {
			bar = "│ "
		}
		for _, key := range slices.Sorted(maps.Keys(r.Inputs)) {
			if !isNull(r.Inputs[key]) {
				fmt.Fprintf(&out, "%s%s  %s: %s\n", rest, bar, key, jsonText(masked(r.Inputs[key])))
			}
		}
		for i, c := range below {
			if i == len(below)-1 {
				write(c, rest+"└─ ", rest+"   ")
			} else {
				write(c, rest+"├─ ", rest+"│  ")
			}
		}
	}
	for _, root := range children[""] {
		write(root, "", "")
	}
	if err := writePolicy(&out, result.Outputs); err != nil {
		return err
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// options are those that the user should know of.
func options(r *monitor.Resource) string {
	var said []string
	if r.Protect {
		said = append(said, "protected")
	}
	if r.RetainOnDelete {
		said = append(said, "retained on delete")
	}
	if r.ImportID != "" {
		said = append(said, "imported: "+r.ImportID)
	}
	if len(r.IgnoreChanges) > 0 {
		said = append(said, "ignores changes of "+strings.Join(r.IgnoreChanges, ", "))
	}
	if len(said) == 0 {
		return ""
	}
	return "  (" + strings.Join(said, "; ") + ")"
}

// masked is a property with its secrets hidden.
func masked(v resource.PropertyValue) any {
	return v.MapRepl(nil, func(v resource.PropertyValue) (any, bool) {
		if v.IsSecret() || v.IsOutput() && v.OutputValue().Secret {
			return hidden, true
		}
		return nil, false
	})
}

func writePolicy(w io.Writer, outputs resource.PropertyMap) error {
	output := outputs["policy"]
	if !output.IsObject() && !output.IsString() {
		return nil // a program of another kind
	}
	text, ok := monitor.Plain(output).(string)
	if !ok {
		bytes, err := json.Marshal(monitor.Plain(output))
		if err != nil {
			return fmt.Errorf("render: policy: %w", err)
		}
		text = string(bytes)
	}
	p, err := policy.Parse([]byte(text))
	if err != nil {
		return fmt.Errorf("render: the output policy: %w", err)
	}
	fmt.Fprintf(w, "\nAccess policy\n  issuer    %v\n  audience  %v\n  base role %s\n\n",
		monitor.Plain(outputs["issuer"]), monitor.Plain(outputs["audience"]), p.BaseRole)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  MODEL\tRUNS\tCALLERS NEED")
	for _, m := range p.Models {
		where := "embedded " + m.Embedded
		if m.Upstream != nil {
			where = m.Upstream.URL
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", m.Name, where, m.Allow)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(table, "\n  CLIENT\tKIND")
	for _, c := range p.Clients {
		fmt.Fprintf(table, "  %s\t%s\n", c.ClientID, c.Kind)
	}
	return table.Flush()
}

// WriteDiff writes what would change in the exported realm to make it r: a line
// for each field with + for what comes, - for what goes and ~ for what changes.
// Secrets are masked. It returns how many lines it wrote.
func WriteDiff(w io.Writer, r *Realm, export []byte, color bool) (int, error) {
	differences, err := Compare(r, export)
	if err != nil {
		return 0, err
	}
	var out strings.Builder
	line := func(sign, code, text string) {
		if color {
			fmt.Fprintf(&out, "\x1b[%sm%s %s\x1b[0m\n", code, sign, text)
		} else {
			fmt.Fprintf(&out, "%s %s\n", sign, text)
		}
	}
	for _, d := range differences {
		want, got := jsonText(r.mask(d.Want)), jsonText(r.mask(d.Got))
		switch {
		case d.Got == nil:
			line("+", "32", d.Path+": "+want)
		case d.Want == nil:
			line("-", "31", d.Path+": "+got)
		default:
			line("~", "33", d.Path+": "+got+" → "+want)
		}
	}
	_, err = io.WriteString(w, out.String())
	return len(differences), err
}

// mask hides the strings that the program marked as secret.
func (r *Realm) mask(v any) any {
	switch v := v.(type) {
	case string:
		if r.secrets[v] {
			return hidden
		}
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = r.mask(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = r.mask(e)
		}
		return out
	}
	return v
}
