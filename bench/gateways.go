package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"keycloak-model-api/internal/oidctest"
)

// work is one kind of request to a gateway.
type work struct {
	name string
	path string
	body string // of which %s makes up the size
	size int
}

const (
	inferBody = `{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["%s"]}]}`
	chatBody  = `{"model":"chat","messages":[{"role":"user","content":"%s"}]}`
)

// works are all that are measured. The first is what the plots show.
func works() []work {
	var list []work
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1 KiB", small}, {"64 KiB", medium}, {"1 MiB", large}} {
		list = append(list,
			work{size.name + ", the path names the model", "/v2/models/iris/infer", inferBody, size.bytes},
			work{size.name + ", the body names the model", "/v1/chat/completions", chatBody, size.bytes})
	}
	return list
}

// request is one as bytes.
func (w work) request(credential string) []byte {
	body := padded(w.body, w.size)
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: api.example\r\nAccept: application/json\r\nContent-Type: application/json\r\n"+
		"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", w.path, credential, len(body), body)
}

// requests are those of a gateway, each with its own token. LiteLLM knows no tokens.
func (w work) requests(gateway string, tokens []string) (list [][]byte) {
	if gateway == liteLLM {
		return [][]byte{w.request(liteLLMKey)}
	}
	for _, t := range tokens {
		list = append(list, w.request(t))
	}
	return list
}

// does says whether a gateway is measured with this work: LiteLLM speaks OpenAI's
// API alone, and needs seconds for a large body.
func (w work) does(gateway string) bool {
	return gateway != liteLLM || w.body == chatBody && w.size == small
}

// Tokens that take turns: as many as callers of a busy server, and few enough for
// 1 MiB each.
const gatewayTokens = 20

// allGateways are those that are measured.
var allGateways = []string{plainProxy, ourGateway, haproxy, apache, nginx, liteLLM}

// gateways measures the API beside other gateways, each with one CPU, in front of
// the same model server.
func gateways(ctx context.Context, o options, progress io.Writer) (report, error) {
	c := comparison{options: o, names: allGateways, works: works(), crowds: crowds(), progress: progress}
	if err := c.measure(ctx); err != nil {
		return report{}, err
	}
	return c.report(), nil
}

// comparison is that of the gateways.
type comparison struct {
	options  options
	names    []string // the first is what the others stand beside
	works    []work
	crowds   []crowd
	progress io.Writer

	missing map[string]string    // what to install, by name
	trials  map[string][]*trial  // by work
	streams map[string][]outcome // by crowd
}

func (c *comparison) measure(ctx context.Context) (err error) {
	issuer := oidctest.Start()
	defer issuer.Close()
	model, err := startModel()
	if err != nil {
		return err
	}
	defer model.Close()
	dir, err := os.MkdirTemp("", "keycloak-model-api-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // for servers that give up root's rights
		return err
	}
	var tokens []string
	reference := len(issuer.Token("RS256"))
	for i := range gatewayTokens {
		tokens = append(tokens, token(issuer, "RS256", i, reference))
	}

	defer pin(1)()
	site := &site{dir: dir, root: c.options.root, issuer: issuer, model: model}
	running := map[string]*program{}
	defer func() {
		for _, p := range running {
			err = errors.Join(err, p.stop())
		}
	}()
	c.missing, c.trials, c.streams = map[string]string{}, map[string][]*trial{}, map[string][]outcome{}
	for _, name := range c.names {
		fmt.Fprintf(c.progress, "  starting %s\n", name)
		first := work{"", "/v1/chat/completions", chatBody, small}.requests(name, tokens)[0]
		p, err := site.start(ctx, name, first)
		var absent missing
		switch {
		case errors.As(err, &absent):
			c.missing[name] = absent.what
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		default:
			running[name] = p
		}
	}
	for _, w := range c.works {
		if err := c.work(ctx, w, running, tokens); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	for _, crowd := range c.crowds {
		fmt.Fprintf(c.progress, "  %s\n", crowd.name())
		if err := c.crowd(ctx, crowd, site, running, tokens); err != nil {
			return fmt.Errorf("%s: %w", crowd.name(), err)
		}
	}
	return nil
}

// work measures one kind of request on all gateways that are there.
func (c *comparison) work(ctx context.Context, w work, running map[string]*program, tokens []string) error {
	base := running[c.names[0]]
	baseClient, err := dial(base.address, connections)
	if err != nil {
		return err
	}
	defer baseClient.close()
	for _, name := range c.names {
		p := running[name]
		if p == nil || !w.does(name) {
			continue
		}
		c.trials[w.name] = append(c.trials[w.name], &trial{contender: name, server: p, requests: w.requests(name, tokens)})
	}
	fmt.Fprintf(c.progress, "  %s\n", w.name)
	for range (c.options.rounds + 1) / 2 { // a round has several pairs
		for _, t := range c.trials[w.name] {
			// Connections of this round: some close those that are idle for seconds.
			if t.client, err = dial(running[t.contender].address, connections); err != nil {
				return err
			}
			err := t.round(ctx, base, baseClient, c.options.slice)
			t.client.close()
			if err != nil {
				return fmt.Errorf("%s: %w", t.contender, err)
			}
		}
	}
	return nil
}

func (c *comparison) report() report {
	r := report{title: "Gateways"}
	header := []string{"", "of ReverseProxy", "p50 of ReverseProxy", "p99 of ReverseProxy", "CPU of ReverseProxy",
		"requests/s", "p50 µs", "p99 µs", "CPU µs/request", "gateway busy"}
	var reached []goal
	for i, w := range c.works {
		s := section{heading: "JSON of " + w.name, header: header}
		ratios := map[string]float64{}
		for _, t := range c.trials[w.name] {
			ratios[t.contender] = t.of(func(p pair) float64 { return p.ratio })
			cells := []string{t.contender}
			for _, value := range []func(pair) float64{
				func(p pair) float64 { return p.ratio }, func(p pair) float64 { return p.p50Ratio }, func(p pair) float64 { return p.p99Ratio },
				func(p pair) float64 { return p.cpuRatio }, func(p pair) float64 { return p.perSecond }, func(p pair) float64 { return p.p50 },
				func(p pair) float64 { return p.p99 }, func(p pair) float64 { return p.cpu }, func(p pair) float64 { return p.busy },
			} {
				cells = append(cells, number(t.of(value)))
			}
			s.rows = append(s.rows, cells)
		}
		s.rows = append(s.rows, c.absent(len(header), w.does)...)
		if i == 0 {
			s.text = fmt.Sprintf("%d connections that stay open, with one request under way on each, and the body of the answer as "+
				"large as that of the request. "+
				"Medians over pairs; the first row is the plain proxy beside itself, so that what differs from 1 there is "+
				"noise.", connections)
		}
		if i < 2 {
			s.chart = &chart{file: fmt.Sprintf("gateways-%d.svg", i+1),
				title: "Requests per second, of the plain proxy's: JSON of " + w.name}
			for _, t := range c.trials[w.name] {
				s.chart.bars = append(s.chart.bars, bar{t.contender, ratios[t.contender], t.contender == ourGateway})
			}
			reached = append(reached, goal{w.name + ": requests per second of the plain proxy's", ratios[ourGateway], true, 1, ""})
			if checking := max(ratios[haproxy], ratios[apache]); checking > 0 {
				reached = append(reached, goal{w.name + ": of the fastest that checks tokens, too", ratios[ourGateway] / checking,
					true, 1, ""})
			}
		}
		r.sections = append(r.sections, s)
	}
	sections, goals2 := c.streamReport()
	r.sections = append(append(r.sections, sections...), goals(append(reached, goals2...)...))
	return r
}

// absent are the rows of what is not installed.
func (c *comparison) absent(columns int, does func(string) bool) (rows [][]string) {
	for _, name := range c.names {
		if what := c.missing[name]; what != "" && does(name) {
			rows = append(rows, append([]string{name, what}, slices.Repeat([]string{""}, columns-2)...))
		}
	}
	return rows
}

// crowd is a number of streams at once.
type crowd struct {
	streams  int
	interval time.Duration // between two events
}

// crowds are all that are measured.
func crowds() []crowd { return []crowd{{100, 20 * time.Millisecond}, {1000, 80 * time.Millisecond}} }

func (c crowd) name() string {
	return fmt.Sprintf("%s streams of %d events, one each %d ms", thousands(c.streams), events, c.interval.Milliseconds())
}

// does: LiteLLM takes seconds for an event with 1,000 streams.
func (c crowd) does(gateway string) bool { return gateway != liteLLM || c.streams <= 100 }
