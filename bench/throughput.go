package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"keycloak-model-api/internal/oidctest"
)

// trial is one row of the load benchmark.
type trial struct {
	contender string
	algorithm string
	tokens    int  // distinct ones
	warm      bool // each token is sent once before

	server   server
	requests [][]byte
	client   *client
	pairs    []pair

	before, after usage // of the whole process around the warming
}

// server is a process under load.
type server interface {
	usage(what string) (usage, error)
	stop() error
}

// pair is what one turn measured, beside the unprotected handler in the same
// turn under the same requests.
type pair struct {
	perSecond, p50, p99       float64
	ratio, p50Ratio, p99Ratio float64
	cpuRatio                  float64
	cpu, allocations          float64 // for each request
	busy                      float64 // part of the time in which the server computed
}

// trials are all that are made. The first one stands beside itself: what it
// differs from 1 is the noise.
func trials() []*trial {
	list := []*trial{
		{contender: unprotected, algorithm: "RS256", tokens: 5_000},
		{contender: ours, algorithm: "RS256", tokens: 1, warm: true},
		{contender: ours, algorithm: "RS256", tokens: 5_000, warm: true},
		{contender: ours, algorithm: manyAlgorithm, tokens: 100_000, warm: true},
		{contender: goOIDCCached, algorithm: "RS256", tokens: 5_000, warm: true},
	}
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		for _, name := range []string{oursCold, goOIDC, golangJWT, jwx, auth0} {
			list = append(list, &trial{contender: name, algorithm: algorithm, tokens: 1_000})
		}
	}
	return list
}

// manyAlgorithm signs 100,000 tokens in seconds, where RS256 takes minutes.
// They are made as long as the others, and once they are verified only their
// length counts.
const manyAlgorithm = "EdDSA"

// throughput measures every contender behind HTTP on loopback.
func throughput(ctx context.Context, o options, progress io.Writer) (report, error) {
	list := trials()
	if err := load(ctx, o, list, progress); err != nil {
		return report{}, err
	}
	return throughputReport(list), nil
}

// load runs all trials: servers on the first CPU, each in a process of its own,
// this process on the second.
func load(ctx context.Context, o options, list []*trial, progress io.Writer) (err error) {
	issuer := oidctest.Start()
	defer issuer.Close()
	fmt.Fprintln(progress, "  minting tokens")
	mint(issuer, list)

	defer pin(1)()
	base, err := start(ctx, unprotected, issuer.URL, "RS256")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, base.stop()) }()
	baseClient, err := dial(base.address, connections)
	if err != nil {
		return err
	}
	defer baseClient.close()
	for _, t := range list {
		fmt.Fprintf(progress, "  starting %s\n", t.name())
		if err := t.start(ctx, issuer.URL); err != nil {
			return fmt.Errorf("%s: %w", t.name(), err)
		}
		defer func() {
			t.client.close()
			err = errors.Join(err, t.server.stop())
		}()
	}
	for n := range o.rounds {
		fmt.Fprintf(progress, "  round %d of %d\n", n+1, o.rounds)
		for _, t := range list {
			if err := t.round(ctx, base, baseClient, o.slice); err != nil {
				return fmt.Errorf("%s: %w", t.name(), err)
			}
		}
	}
	return nil
}

// turns is into how many parts the slice of a round is cut. The noise of a
// machine comes in stretches that are longer than a part: it hits both sides of
// a pair, or few of the pairs.
const turns = 4

// mint makes the tokens of all trials. Those of equal number and algorithm are
// the same.
func mint(issuer *oidctest.Issuer, list []*trial) {
	made := map[string][][]byte{}
	reference := len(issuer.Token("RS256"))
	for _, t := range list {
		key := t.algorithm + strconv.Itoa(t.tokens)
		if made[key] == nil {
			issuer.Key(t.algorithm) // published before the servers ask for the keys
			made[key] = make([][]byte, t.tokens)
			var g errgroup.Group
			g.SetLimit(runtime.NumCPU())
			for i := range made[key] {
				g.Go(func() error {
					made[key][i] = requestWith(token(issuer, t.algorithm, i, reference))
					return nil
				})
			}
			_ = g.Wait()
		}
		t.requests = made[key]
	}
}

// token makes the token of one user, at least as long as length: a signature
// that is shorter is made up for by a longer claim.
func token(issuer *oidctest.Issuer, algorithm string, i, length int) string {
	id := fmt.Sprintf("6b0c2a7e-3f0d-4d5b-9c1a-%012d", i)
	claims := oidctest.Claims{
		"jti": "onrtac:" + id, "sub": id, "sid": "yN3bqkT0a8rD" + id[24:], "preferred_username": "user-" + strconv.Itoa(i),
		"exp": time.Now().Add(2 * time.Hour).Unix(),
	}
	t := issuer.Token(algorithm, claims)
	if missing := length - len(t); missing > 16 {
		claims["name"] = "Model User" + strings.Repeat(" ", missing*3/4)
		t = issuer.Token(algorithm, claims)
	}
	return t
}

func (t *trial) start(ctx context.Context, issuer string) (err error) {
	server, err := start(ctx, t.contender, issuer, t.algorithm)
	if err != nil {
		return err
	}
	t.server = server
	if t.client, err = dial(server.address, connections); err != nil {
		return err
	}
	if !t.warm {
		return nil
	}
	// One answer on each connection first: what connections take is not the
	// cache's.
	if err := t.client.once(ctx, t.requests[:min(len(t.requests), connections)]); err != nil {
		return err
	}
	if t.before, err = t.server.usage(askCollect); err != nil {
		return err
	}
	if err := t.client.once(ctx, t.requests); err != nil {
		return err
	}
	t.after, err = t.server.usage(askCollect)
	return err
}

// round loads the server of t and the unprotected one by turns, beginning with
// one as often as with the other. A turn that is not counted comes first: the
// unprotected server stands beside every other one, so that it has rested less
// and would be ahead.
func (t *trial) round(ctx context.Context, base server, baseClient *client, slice time.Duration) error {
	for turn := range 1 + turns {
		var ours, theirs sample
		var err error
		if turn%2 == 0 {
			theirs, err = measure(ctx, base, baseClient, t.requests, slice/turns)
		}
		if err == nil {
			ours, err = measure(ctx, t.server, t.client, t.requests, slice/turns)
		}
		if err == nil && turn%2 == 1 {
			theirs, err = measure(ctx, base, baseClient, t.requests, slice/turns)
		}
		if err != nil {
			return err
		}
		if turn == 0 {
			continue
		}
		t.pairs = append(t.pairs, pair{
			perSecond: ours.perSecond, p50: ours.p50, p99: ours.p99, cpu: ours.cpu, allocations: ours.allocations, busy: ours.busy,
			ratio: ours.perSecond / theirs.perSecond, p50Ratio: ours.p50 / theirs.p50, p99Ratio: ours.p99 / theirs.p99,
			cpuRatio: ours.cpu / theirs.cpu,
		})
	}
	return nil
}

// sample is one slice of load on one server.
type sample struct {
	perSecond, p50, p99    float64 // times in µs
	cpu, allocations, busy float64
}

func measure(ctx context.Context, server server, c *client, requests [][]byte, slice time.Duration) (sample, error) {
	// The caches of the CPU are another's until now.
	if _, _, err := c.run(ctx, requests, slice/8); err != nil {
		return sample{}, err
	}
	before, err := server.usage(askUsage)
	if err != nil {
		return sample{}, err
	}
	latencies, took, err := c.run(ctx, requests, slice)
	if err != nil {
		return sample{}, err
	}
	after, err := server.usage(askUsage)
	if err != nil {
		return sample{}, err
	}
	n, cpu := float64(len(latencies)), after.CPU-before.CPU
	return sample{
		perSecond: n / took.Seconds(), p50: micro(latencies[len(latencies)/2]), p99: micro(latencies[len(latencies)*99/100]),
		cpu: micro(cpu) / n, allocations: float64(after.Mallocs-before.Mallocs) / n, busy: float64(cpu) / float64(took),
	}, nil
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// name says what a trial is, for tables.
func (t *trial) name() string {
	switch {
	case t.warm && t.tokens == 1:
		return t.contender + ", warm, 1 token"
	case t.warm:
		return fmt.Sprintf("%s, warm, %s tokens", t.contender, thousands(t.tokens))
	}
	return t.contender
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	if len(s) > 3 {
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}

// of is the median over the pairs of one value.
func (t *trial) of(value func(pair) float64) float64 {
	values := make([]float64, len(t.pairs))
	for i, r := range t.pairs {
		values[i] = value(r)
	}
	return median(values)
}

func throughputReport(list []*trial) report {
	ratio := func(r pair) float64 { return r.ratio }
	p99 := func(r pair) float64 { return r.p99Ratio }
	plot := &chart{file: "throughput.svg", title: "Requests per second, of the unprotected handler (RS256)"}
	warm := section{heading: "RS256"}
	other := section{heading: "Other algorithms, without a cache"}
	header := []string{"", "of unprotected", "p50 of unprotected", "p99 of unprotected", "CPU of unprotected", "requests/s", "p50 µs",
		"p99 µs", "CPU µs/request", "allocations/request", "server busy"}
	warm.header, other.header = header, header
	memory := section{
		heading: "Memory of the warm ones", header: []string{"", "heap MiB", "resident MiB", "heap bytes/token"},
		text: "What the process grew by from before the first token to after the last one, each after a garbage collection.",
	}
	var reached []goal
	best := map[string]float64{} // of the peers' cold ratios, by algorithm
	cold := map[string]float64{}
	for _, t := range list {
		cells := []string{t.name()}
		for _, value := range []func(pair) float64{
			ratio, func(r pair) float64 { return r.p50Ratio }, p99, func(r pair) float64 { return r.cpuRatio },
			func(r pair) float64 { return r.perSecond }, func(r pair) float64 { return r.p50 }, func(r pair) float64 { return r.p99 },
			func(r pair) float64 { return r.cpu }, func(r pair) float64 { return r.allocations }, func(r pair) float64 { return r.busy },
		} {
			cells = append(cells, number(t.of(value)))
		}
		if t.algorithm == "RS256" || t.warm {
			warm.rows = append(warm.rows, cells)
			plot.bars = append(plot.bars, bar{t.name(), t.of(ratio), strings.HasPrefix(t.contender, ours)})
		} else {
			cells[0] += ", " + t.algorithm
			other.rows = append(other.rows, cells)
		}
		switch {
		case t.contender == ours:
			name := fmt.Sprintf("%s tokens, warm: ", thousands(t.tokens))
			reached = append(reached,
				goal{name + "requests per second of the unprotected handler's", t.of(ratio), true, 0.95, ""},
				goal{name + "p99 of the unprotected handler's", t.of(p99), false, 1.1, ""})
		case t.contender == oursCold:
			cold[t.algorithm] = t.of(ratio)
		case t.contender != unprotected && !t.warm:
			best[t.algorithm] = max(best[t.algorithm], t.of(ratio))
		}
		if t.warm && t.tokens > 1 {
			heap := float64(t.after.Heap) - float64(t.before.Heap)
			resident := float64(t.after.RSS) - float64(t.before.RSS)
			memory.rows = append(memory.rows, []string{t.name(), number(heap / (1 << 20)), number(resident / (1 << 20)),
				number(heap / float64(t.tokens))})
			if t.tokens == 100_000 {
				reached = append(reached, goal{"memory of 100,000 cached tokens", heap / (1 << 20), false, 64, " MiB"})
			}
		}
	}
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		reached = append(reached, goal{"cold, " + algorithm + ": of the fastest peer without a cache",
			cold[algorithm] / best[algorithm], true, 1, ""})
	}
	warm.chart = plot
	warm.text = fmt.Sprintf("Keep-alive connections over loopback, %d of them with one request each under way; servers on one CPU, the "+
		"load on another. "+
		"Each measurement stands beside one of the unprotected handler under the same requests, by turns; the figures are medians over "+
		"%d pairs. "+
		"The first row is the unprotected handler beside itself: what differs from 1 there is noise. The 100,000 tokens are signed with "+
		"EdDSA and made as long as the others: once they are verified, only their length counts.", connections, len(list[0].pairs))
	return report{title: "Throughput and latency", sections: []section{warm, other, memory, goals(reached...)}}
}
