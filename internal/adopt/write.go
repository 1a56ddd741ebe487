package adopt

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"keycloak-model-api/internal/cli"
	"keycloak-model-api/internal/monitor"
)

// WriteLines writes one pulumi import command for each object, for a POSIX shell.
// The components that the objects belong to must be in the state already.
func WriteLines(w io.Writer, found []Object) error {
	for _, o := range found {
		r := o.Resource
		line := fmt.Sprintf("pulumi import %s %s %s", cli.Quote(r.Type), cli.Quote(r.Name), cli.Quote(o.ID))
		if r.Parent != "" && !isStack(r.Parent) {
			line += " --parent " + cli.Quote("parent="+r.Parent)
		}
		if _, err := fmt.Fprintln(w, line+" --generate-code=false --yes"); err != nil {
			return err
		}
	}
	return nil
}

// entry is one resource of an import file.
type entry struct {
	Type        string `json:"type"`
	Name        string `json:"name"` // unique in the file
	LogicalName string `json:"logicalName"`
	ID          string `json:"id,omitempty"`
	Parent      string `json:"parent,omitempty"` // Name of another entry
	Version     string `json:"version,omitempty"`
	Component   bool   `json:"component,omitempty"`
}

// WriteFile writes the file that pulumi import --file takes, with the components
// that the objects belong to, which the import makes.
func WriteFile(w io.Writer, resources []*monitor.Resource, found []Object) error {
	byURN := make(map[string]*monitor.Resource, len(resources))
	for _, r := range resources {
		byURN[r.URN] = r
	}
	var entries []entry
	written := map[string]bool{}
	var add func(r *monitor.Resource, id string)
	add = func(r *monitor.Resource, id string) {
		if written[r.URN] {
			return
		}
		written[r.URN] = true
		e := entry{Type: r.Type, Name: unique(r), LogicalName: r.Name, ID: id, Version: r.Version, Component: !r.Custom}
		if parent := byURN[r.Parent]; parent != nil && !isStack(parent.URN) {
			add(parent, "")
			e.Parent = unique(parent)
		}
		entries = append(entries, e)
	}
	for _, o := range found {
		add(o.Resource, o.ID)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(map[string]any{"resources": entries})
}

// unique tells a resource from all others of the stack.
func unique(r *monitor.Resource) string { return r.Type + " " + r.Name }

func isStack(urn string) bool { return strings.Contains(urn, "::pulumi:pulumi:Stack::") }
