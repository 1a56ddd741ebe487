// Package monitor runs a compiled Pulumi program without the Pulumi engine: it
// serves Pulumi's resource monitor and engine on loopback, as the engine does
// for its language hosts, and collects what the program registers. It knows
// Pulumi's protocol and nothing of any provider.
package monitor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// Resource is one resource that a program registered.
type Resource struct {
	URN    string
	Type   string // token, such as keycloak:index/realm:Realm
	Name   string // logical name
	Parent string // URN, empty for the stack itself
	Custom bool   // a provider's resource; otherwise a component

	Inputs  resource.PropertyMap // as registered, after transforms; secrets are *resource.Secret
	Outputs resource.PropertyMap // what the program reads; for the stack its outputs
	ID      string

	Version             string // of the provider
	Provider            string // reference to the provider resource, if the program chose one
	Dependencies        []string
	Protect             bool
	RetainOnDelete      bool
	IgnoreChanges       []string
	ImportID            string
	AdditionalSecrets   []string // outputs that are secret beside those whose input is
	Aliases             int      // how many earlier names it has
	transforms          []*pulumirpc.Callback
	qualifiedParentType string
}

// Text is an input that is a text, empty if there is none.
func (r *Resource) Text(key string) string {
	s, _ := Plain(r.Inputs[resource.PropertyKey(key)]).(string)
	return s
}

// Program is a compiled Pulumi program and how to answer it.
type Program struct {
	Binary string   // path
	Dir    string   // working directory: where Pulumi.yaml is
	Env    []string // environment beside Pulumi's own variables, as os.Environ gives it
	Config *Config

	// Create is called once for each custom resource with its inputs. It sets
	// ID and Outputs as the provider would. Its error is reported when the
	// program has ended, with all others.
	Create func(*Resource) error
	// Check finds what is wrong with a resource, components included. May be nil.
	Check func(*Resource) []error
	// Invoke answers a function such as keycloak:openid/getClient:getClient. It
	// gets what was registered before.
	Invoke func(token string, args resource.PropertyMap, registered []*Resource) (resource.PropertyMap, error)

	// Log gets the program's own output and its messages of severity warning
	// and error, a line each.
	Log io.Writer
}

// Result is what a program registered.
type Result struct {
	Resources []*Resource          // in the order of registration; the stack comes first
	Outputs   resource.PropertyMap // of the stack; secrets are *resource.Secret
}

// Run runs the program to its end. A program that fails, or a resource that
// Create or Check find fault with, is an error that names each; the result has
// then what was registered until the end.
func Run(ctx context.Context, p Program) (*Result, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	var output bytes.Buffer
	s := newServer(&p, &lockedWriter{w: p.Log})
	defer s.callbacks.close()
	rpc := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.WaitForHandlers(true))
	pulumirpc.RegisterResourceMonitorServer(rpc, s)
	pulumirpc.RegisterEngineServer(rpc, &engine{server: s})
	go rpc.Serve(listener)
	defer rpc.Stop()

	variables, err := p.Config.environment()
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(p.Dir)
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	variables["PULUMI_MONITOR"] = listener.Addr().String()
	variables["PULUMI_ENGINE"] = listener.Addr().String()
	variables["PULUMI_ORGANIZATION"] = "organization"
	variables["PULUMI_ROOT_DIRECTORY"] = root
	variables["PULUMI_DRY_RUN"] = "false"
	variables["PULUMI_PARALLEL"] = "2147483647"

	cmd := exec.CommandContext(ctx, p.Binary)
	cmd.Dir = p.Dir
	// A program lives for seconds and keeps most of what it makes, so collecting
	// garbage less often saves a fifth of its time. An entry of p.Env wins.
	cmd.Env = append([]string{"GOGC=400"}, slices.DeleteFunc(slices.Clone(p.Env), func(entry string) bool {
		return strings.HasPrefix(entry, "PULUMI_")
	})...)
	for name, value := range variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout = s.log
	cmd.Stderr = io.MultiWriter(s.log, &output)
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	rpc.Stop() // requests of a program that ended at once may be under way

	result := &Result{Resources: s.resources}
	if s.stack != nil {
		result.Outputs = s.stack.Outputs
	}
	// They come in the order of goroutines, and from several places.
	slices.Sort(s.warnings)
	for _, message := range slices.Compact(s.warnings) {
		fmt.Fprintf(s.log, "warning: %s\n", message)
	}
	if err == nil {
		// The program went on in spite of them.
		for _, message := range s.errors {
			fmt.Fprintf(s.log, "error: %s\n", message)
		}
	}
	errs := s.faults
	if err != nil {
		why := strings.Join(s.errors, "\n")
		if why == "" {
			why = lastLines(output.String(), 20)
		}
		errs = append(errs, fmt.Errorf("monitor: the program %s failed (%w):\n%s", filepath.Base(p.Binary), err,
			cmp.Or(why, "it gave no reason")))
	} else if s.stack == nil {
		errs = append(errs, fmt.Errorf("monitor: %s ended without registering a stack: it is not a Pulumi program",
			filepath.Base(p.Binary)))
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("monitor: %w", ctx.Err())
	}
	return result, errors.Join(errs...)
}

// OutputsJSON is the stack's outputs as "pulumi stack output --json" prints
// them; without showSecrets a secret is "[secret]".
func (r *Result) OutputsJSON(showSecrets bool) ([]byte, error) {
	outputs := map[string]any{}
	for key, value := range r.Outputs {
		if value.ContainsSecrets() && !showSecrets {
			outputs[string(key)] = "[secret]"
			continue
		}
		outputs[string(key)] = Plain(value)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(outputs); err != nil {
		return nil, fmt.Errorf("monitor: stack outputs: %w", err)
	}
	return text.Bytes(), nil
}

// Plain is a property as encoding/json would decode it, with its secrets in
// plain view.
func Plain(v resource.PropertyValue) any {
	return v.MapRepl(nil, func(v resource.PropertyValue) (any, bool) {
		switch {
		case v.IsSecret():
			return Plain(v.SecretValue().Element), true
		case v.IsOutput():
			return Plain(v.OutputValue().Element), true
		case v.IsResourceReference():
			return string(v.ResourceReferenceValue().URN), true
		}
		return nil, false
	})
}

// reason is a message of severity error without what the SDK wraps around the
// error with which a program ends.
func reason(message string) string {
	message = strings.TrimPrefix(message, "an unhandled error occurred: program failed: \n")
	if first, rest, ok := strings.Cut(message, "\n\t* "); ok && strings.HasSuffix(first, " occurred:") {
		message = strings.ReplaceAll(rest, "\n\t* ", "\n")
	}
	return strings.TrimSpace(message)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
