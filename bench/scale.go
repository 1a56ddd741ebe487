package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// size of a configuration.
type size struct{ models, clients, users, groups int }

// full is what -users 5000 stands for; fewer users come with fewer of all.
func (o options) size() size {
	return size{models: max(o.users/25, 2), clients: max(o.users*2/25, 4), users: o.users, groups: min(20, max(o.users/25, 2))}
}

// registering measures what a large configuration costs to register and render.
func registering(ctx context.Context, o options, progress io.Writer) (report, error) {
	return withStack(ctx, o, func(s stack) (report, error) {
		table, reached, err := s.registration(ctx, o, progress)
		return report{title: "Registering a large configuration", sections: []section{table, goals(reached)}}, err
	})
}

// applying measures what it costs to give it to a Keycloak.
func applying(ctx context.Context, o options, progress io.Writer) (report, error) {
	return withStack(ctx, o, func(s stack) (report, error) {
		table, reached, err := s.creation(ctx, o, progress)
		return report{title: "Giving a large configuration to Keycloak", sections: []section{table, goals(reached)}}, err
	})
}

// withStack calls f with the compiled programs.
func withStack(ctx context.Context, o options, f func(stack) (report, error)) (report, error) {
	dir, err := os.MkdirTemp("", "keycloak-model-api-bench")
	if err != nil {
		return report{}, err
	}
	defer os.RemoveAll(dir)
	s := stack{dir: dir, root: o.root, size: o.size()}
	if err := build(ctx, o.root, filepath.Join(dir, "stack"), "."); err != nil {
		return report{}, err
	}
	if err := build(ctx, filepath.Join(o.root, "bench"), filepath.Join(dir, "bare"), "./program"); err != nil {
		return report{}, err
	}
	return f(s)
}

func build(ctx context.Context, dir, binary, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", binary, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// stack is the compiled program with a generated configuration.
type stack struct {
	dir, root string
	size      size
}

// config is a configuration of that size for a realm. Its users have no
// passwords, so neither way into Keycloak has any to hash.
func (s stack) config(realm string, n size) (*monitor.Config, error) {
	project := filepath.Join(s.dir, realm)
	if err := os.MkdirAll(project, 0o700); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(s.root, "Pulumi.yaml"))
	if err != nil {
		return nil, err
	}
	var users bytes.Buffer
	users.WriteString("username,email,emailVerified,firstName,lastName,groups\n")
	for i := range n.users {
		fmt.Fprintf(&users, "user-%d,user-%d@example.com,true,User,Number %d,team-%d\n", i, i, i, i%n.groups)
	}
	for name, content := range map[string][]byte{"Pulumi.yaml": text, "Pulumi." + realm + ".yaml": []byte("config: {}\n"),
		"users.csv": users.Bytes()} {
		if err := os.WriteFile(filepath.Join(project, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	// A stack of its own for each realm: ids come from it, and two realms of one
	// Keycloak can't share them.
	c, err := monitor.LoadConfig(project, realm, func(string) string { return "" })
	if err != nil {
		return nil, err
	}

	type object map[string]any
	var models, clients, groups []object
	secrets := map[string]string{}
	for i := range n.models {
		models = append(models, object{"name": fmt.Sprintf("model-%d", i),
			"upstream": object{"url": fmt.Sprintf("https://triton-%d.example.com", i)}})
	}
	for i := range n.clients {
		client := object{"clientId": fmt.Sprintf("client-%d", i), "kind": []string{"service", "web", "service", "cli"}[i%4]}
		switch {
		case i == 0:
			client["kind"] = "api"
		case client["kind"] == "web":
			client["redirectUris"] = []string{fmt.Sprintf("https://web-%d.example.com/callback", i)}
		}
		if client["kind"] != "cli" {
			secrets[client["clientId"].(string)] = fmt.Sprintf("the-secret-of-client-%d", i)
		}
		clients = append(clients, client)
	}
	for i := range n.groups {
		var roles []string
		for m := i; m < n.models; m += n.groups {
			roles = append(roles, fmt.Sprintf("model-model-%d", m))
		}
		groups = append(groups, object{"name": fmt.Sprintf("team-%d", i), "roles": roles})
	}
	for key, value := range map[string]any{"models": models, "clients": clients, "groups": groups} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		c.Values[c.Project+":"+key] = string(text)
	}
	c.Values[c.Project+":realm"] = realm
	c.Values[c.Project+":environment"] = "prod"
	c.Values[c.Project+":publicUrl"] = "https://id.example.com"
	c.Values[c.Project+":usersFile"] = "users.csv"
	c.Values["keycloak:url"] = "https://id.example.com"
	return c, c.AddSecrets("clientSecrets", secrets)
}

// render runs the program and makes the realm of what it registers.
func (s stack) render(ctx context.Context, c *monitor.Config) (*monitor.Result, *render.Realm, error) {
	var log bytes.Buffer
	result, err := render.Run(ctx, monitor.Program{
		Binary: filepath.Join(s.dir, "stack"), Dir: filepath.Join(s.dir, c.Values[c.Project+":realm"]),
		Env: environment(), Config: c, Log: &log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w\n%s", err, log.String())
	}
	realms, err := render.Build(result.Resources)
	if err != nil {
		return nil, nil, err
	}
	if len(realms) != 1 {
		return nil, nil, fmt.Errorf("the stack declares %d realms, want 1", len(realms))
	}
	return result, realms[0], nil
}

func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
}

// registration holds running and rendering the stack against the bare SDK, by
// turns.
func (s stack) registration(ctx context.Context, o options, progress io.Writer) (section, goal, error) {
	c, err := s.config("bench", s.size)
	if err != nil {
		return section{}, goal{}, err
	}
	result, _, err := s.render(ctx, c) // the first run also fills the disk's cache
	if err != nil {
		return section{}, goal{}, err
	}
	counts := map[string]int{}
	for _, r := range result.Resources {
		if r.Custom {
			counts[r.Type]++
		}
	}
	if err := s.bare(ctx, counts); err != nil {
		return section{}, goal{}, err
	}
	var mine, bare, ratios []cost
	for n := range o.rounds {
		fmt.Fprintf(progress, "  round %d of %d\n", n+1, o.rounds)
		a, err := costOf(func() error { _, _, err := s.render(ctx, c); return err })
		if err != nil {
			return section{}, goal{}, err
		}
		b, err := costOf(func() error { return s.bare(ctx, counts) })
		if err != nil {
			return section{}, goal{}, err
		}
		mine, bare, ratios = append(mine, a), append(bare, b), append(ratios, cost{a.wall / b.wall, a.cpu / b.cpu})
	}
	total := 0
	var kinds [][2]string
	for typ, n := range counts {
		total += n
		kinds = append(kinds, [2]string{typ[strings.LastIndexByte(typ, ':')+1:], thousands(n)})
	}
	slices.SortFunc(kinds, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	var list []string
	for _, k := range kinds {
		list = append(list, k[1]+" "+k[0])
	}
	ratio := medianCost(ratios)
	row := func(name string, c cost, wall, cpu string) []string {
		return []string{name, number(c.wall), wall, number(c.cpu), cpu}
	}
	return section{
		text: fmt.Sprintf("%s models, %s clients and %s users who get their roles from %d groups are %s resources: %s. "+
			"The stack reads and checks its configuration, registers them with every guardrail on, and the renderer makes the realm of "+
			"them. "+
			"The bare SDK registers as many of the same types in a loop, at a monitor that answers at once and keeps nothing. Medians "+
			"over %d rounds, by turns.",
			thousands(s.size.models), thousands(s.size.clients), thousands(s.size.users), s.size.groups, thousands(total), strings.Join(list, ", "), o.rounds),
		header: []string{"", "seconds", "of the bare SDK", "CPU seconds", "of the bare SDK"},
		rows: [][]string{
			row("stack and renderer", medianCost(mine), number(ratio.wall), number(ratio.cpu)),
			row("bare SDK", medianCost(bare), "1", "1"),
		},
	}, goal{"registering and rendering, time of the bare SDK", ratio.wall, false, 1.5, ""}, nil
}

// cost is what something took, in seconds, or the ratio of two such.
type cost struct{ wall, cpu float64 }

func costOf(f func() error) (cost, error) {
	start, cpu := time.Now(), cpuTime(true)
	err := f()
	return cost{time.Since(start).Seconds(), (cpuTime(true) - cpu).Seconds()}, err
}

func medianCost(list []cost) cost {
	var wall, cpu []float64
	for _, c := range list {
		wall, cpu = append(wall, c.wall), append(cpu, c.cpu)
	}
	return cost{median(wall), median(cpu)}
}

// bare runs the bare program against a monitor that answers at once.
func (s stack) bare(ctx context.Context, want map[string]int) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m := &echo{counts: map[string]int{}}
	const maxMessage = 400 << 20
	rpc := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	pulumirpc.RegisterResourceMonitorServer(rpc, m)
	pulumirpc.RegisterEngineServer(rpc, m)
	go rpc.Serve(listener)
	defer rpc.Stop()
	counts := map[string]int{}
	for typ, n := range want {
		counts[typ[strings.LastIndexByte(typ, ':')+1:]] = n
	}
	text, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "bare"))
	address := listener.Addr().String()
	cmd.Env = append(environment(), "BENCH_COUNTS="+string(text),
		"PULUMI_MONITOR="+address, "PULUMI_ENGINE="+address, "PULUMI_PROJECT=bench", "PULUMI_STACK=bench", "PULUMI_PARALLEL=2147483647")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bare SDK: %w\n%s", err, out)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !maps.Equal(m.counts, want) {
		return fmt.Errorf("the bare program registers %v, the stack %v: they must be the same", m.counts, want)
	}
	return nil
}

// echo is a resource monitor that does nothing but count.
type echo struct {
	pulumirpc.UnimplementedResourceMonitorServer
	pulumirpc.UnimplementedEngineServer

	mu     sync.Mutex
	counts map[string]int // of custom resources by type
}

func (*echo) SupportsFeature(context.Context, *pulumirpc.SupportsFeatureRequest) (*pulumirpc.SupportsFeatureResponse, error) {
	return &pulumirpc.SupportsFeatureResponse{HasSupport: true}, nil
}

func (m *echo) RegisterResource(_ context.Context, r *pulumirpc.RegisterResourceRequest) (*pulumirpc.RegisterResourceResponse, error) {
	if r.GetCustom() {
		m.mu.Lock()
		m.counts[r.GetType()]++
		m.mu.Unlock()
	}
	return &pulumirpc.RegisterResourceResponse{Urn: "urn:pulumi:bench::bench::" + r.GetType() + "::" + r.GetName(), Id: r.GetName(),
		Object: r.GetObject()}, nil
}

func (*echo) RegisterResourceOutputs(context.Context, *pulumirpc.RegisterResourceOutputsRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (*echo) SetRootResource(context.Context, *pulumirpc.SetRootResourceRequest) (*pulumirpc.SetRootResourceResponse, error) {
	return &pulumirpc.SetRootResourceResponse{}, nil
}

func (*echo) Log(context.Context, *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// patience is how long one POST of everything may take.
const patience = 4 * time.Minute

// creation gives the realm to a Keycloak in both ways: by Apply, before and
// after one POST of the whole representation.
func (s stack) creation(ctx context.Context, o options, progress io.Writer) (_ section, _ goal, err error) {
	distribution, err := keycloak.Fetch(ctx, keycloak.FetchOptions{Home: o.keycloakHome, Progress: progress})
	if err != nil {
		return section{}, goal{}, err
	}
	server, err := keycloak.Start(ctx, keycloak.Options{Distribution: distribution, DataDir: filepath.Join(s.dir, "keycloak"),
		Progress: progress})
	if err != nil {
		return section{}, goal{}, err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	admin := keycloak.NewAdmin(server.BaseURL, server.Admin)

	apply := func(name string, n size) (float64, error) {
		_, realm, err := s.realm(ctx, name, n)
		if err != nil {
			return 0, err
		}
		start := time.Now()
		err = realm.Apply(ctx, admin)
		return time.Since(start).Seconds(), err
	}
	post := func(name string, n size) (float64, error) {
		whole, _, err := s.realm(ctx, name, n)
		if err != nil {
			return 0, err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		token, err := admin.Token(ctx)
		if err != nil {
			return 0, err
		}
		start := time.Now()
		err = postRealm(ctx, server.BaseURL, token, whole)
		return time.Since(start).Seconds(), err
	}

	// Java gets faster with what it has done before, so a small realm of each
	// way comes first.
	small := size{models: 10, clients: 20, users: 200, groups: 5}
	if _, err := apply("small-by-apply", small); err != nil {
		return section{}, goal{}, err
	}
	if _, err := post("small-by-post", small); err != nil {
		return section{}, goal{}, err
	}
	fmt.Fprintln(progress, "  applying")
	first, err := apply("large-1", s.size)
	if err != nil {
		return section{}, goal{}, err
	}
	fmt.Fprintf(progress, "  %.1f s; one POST, at most %.0f minutes\n", first, patience.Minutes())
	whole, err := post("large-2", s.size)
	applied, took := []float64{first}, number(whole)
	switch {
	case err == nil:
		fmt.Fprintf(progress, "  %s s; applying again\n", took)
		second, err := apply("large-3", s.size)
		if err != nil {
			return section{}, goal{}, err
		}
		applied = append(applied, second)
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		// Keycloak goes on with it, so nothing can be measured any more.
		took = "more than " + took
	default:
		return section{}, goal{}, err
	}
	sum := 0.0
	var each []string
	for _, seconds := range applied {
		sum += seconds
		each = append(each, number(seconds))
	}
	ratio := whole / (sum / float64(len(applied)))
	return section{
		text: "The same realm, given to Keycloak " + keycloak.Version + " as the local way does it, and by one POST of the whole " +
			"representation. " +
			"The account is the same, and the users have no passwords on either side. Apply came before and after the POST.",
		header: []string{"", "seconds", "times as fast"},
		rows: [][]string{
			{"render.Realm.Apply", strings.Join(each, " and "), number(ratio)},
			{"one POST of everything", took, "1"},
		},
	}, goal{"giving it to Keycloak, times as fast as one POST", ratio, true, 5, ""}, nil
}

// postRealm makes a realm by one POST, with more patience than the client that
// Apply uses.
func postRealm(ctx context.Context, baseURL, token string, whole []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/admin/realms", bytes.NewReader(whole))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("one POST: %s: %s", response.Status, text)
	}
	return nil
}

// realm is the realm of that name, also as one representation.
func (s stack) realm(ctx context.Context, name string, n size) (json.RawMessage, *render.Realm, error) {
	c, err := s.config(name, n)
	if err != nil {
		return nil, nil, err
	}
	_, realm, err := s.render(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	whole, err := realm.ImportFile()
	return whole, realm, err
}
