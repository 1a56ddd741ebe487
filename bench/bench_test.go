package main

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/internal/oidctest"
)

// TestMain lets the test binary be a server of one contender, as bench's own is.
func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// all contenders that refuse anything.
var all = []string{ours, oursCold, goOIDC, goOIDCCached, golangJWT, jwx, auth0}

// Every contender lets a good token through and refuses bad ones, or its speed
// would say nothing.
func TestContenders(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		issuer := oidctest.Start()
		t.Cleanup(issuer.Close)
		issuer.Key(algorithm)
		good := issuer.Token(algorithm)
		// Another character of base64url, or the shape would be refused before
		// the signature.
		tampered := []byte(good)
		if at := len(tampered) - 10; tampered[at] == 'A' {
			tampered[at] = 'B'
		} else {
			tampered[at] = 'A'
		}
		for _, name := range all {
			p, err := contender(t.Context(), name, issuer.URL, algorithm)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			handler := p.protect(http.HandlerFunc(answer))
			for _, tt := range []struct {
				name, token string
				status      int
			}{
				{"good", good, http.StatusOK},
				{"good, again", good, http.StatusOK},
				{"wrong signature", string(tampered), http.StatusUnauthorized},
				{"expired", issuer.Token(algorithm, oidctest.Claims{"exp": time.Now().Add(-time.Hour).Unix()}), http.StatusUnauthorized},
				{"other audience", issuer.Token(algorithm, oidctest.Claims{"aud": "other"}), http.StatusUnauthorized},
				{"other issuer", issuer.Token(algorithm, oidctest.Claims{"iss": "https://evil.example"}), http.StatusUnauthorized},
			} {
				t.Run(name+" "+algorithm+" "+tt.name, func(t *testing.T) {
					r := httptest.NewRequest("GET", "/v2/models/iris", nil)
					r.Header.Set("Authorization", "Bearer "+tt.token)
					if err := p.check(r); (err == nil) != (tt.status == http.StatusOK) {
						t.Errorf("check: %v", err)
					}
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, r)
					if w.Code != tt.status {
						t.Errorf("status %d, want %d", w.Code, tt.status)
					}
				})
			}
		}
	}
}

func TestNoTokenIsRefused(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	for _, name := range all {
		p, err := contender(t.Context(), name, issuer.URL, "RS256")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w := httptest.NewRecorder()
		p.protect(http.HandlerFunc(answer)).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code == http.StatusOK {
			t.Errorf("%s answers 200 without a token", name)
		}
	}
}

// The whole load benchmark, with servers in processes of their own, on few
// tokens and for moments only.
func TestLoad(t *testing.T) {
	list := trials()
	for _, x := range list {
		x.tokens = min(x.tokens, 20)
	}
	if err := load(t.Context(), options{rounds: 1, slice: 5 * time.Millisecond}, list, io.Discard); err != nil {
		t.Fatal(err)
	}
	text := throughputReport(list).markdown()
	for _, x := range list {
		if !strings.Contains(text, x.contender) {
			t.Errorf("no row for %s", x.contender)
		}
		if x.pairs[0].perSecond <= 0 {
			t.Errorf("%s: no requests", x.name())
		}
	}
}

// A server that refuses is an error, never a number.
func TestLoadCountsOnlyAnswersOf200(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) }))
	defer server.Close()
	c, err := dial(server.Listener.Addr().String(), connections)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, _, err := c.run(t.Context(), [][]byte{requestWith("x")}, time.Millisecond); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("error is %v, want one that names 401", err)
	}
}

// The whole comparison of gateways, for moments only, with those that are
// installed. LiteLLM takes longer to start than all others to be measured.
func TestGateways(t *testing.T) {
	c := comparison{
		options: options{rounds: 1, slice: 20 * time.Millisecond, root: ".."}, names: []string{plainProxy, ourGateway, haproxy, apache, nginx},
		works: works(), crowds: []crowd{{4, time.Millisecond}}, progress: io.Discard,
	}
	if err := c.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := c.report().markdown()
	for _, name := range c.names {
		if n := strings.Count(text, "\n| "+name+" |"); n != len(c.works)+len(c.crowds) {
			t.Errorf("%d rows for %s, want one for each of %d kinds of request:\n%s", n, name, len(c.works)+len(c.crowds), text)
		}
	}
}

// A gateway that checks tokens refuses bad ones, or its speed would say nothing.
func TestGatewaysCheckTokens(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	model, err := startModel()
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	dir := t.TempDir()
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil { // for servers that give up root's rights
			t.Fatal(err)
		}
	}
	s := &site{dir: dir, root: "..", issuer: issuer, model: model}
	w := works()[0]
	good := issuer.Token("RS256")
	other := oidctest.New(issuer.URL)
	for _, name := range []string{ourGateway, haproxy, apache} {
		p, err := s.start(t.Context(), name, w.request(good))
		if absent, ok := errors.AsType[missing](err); ok {
			t.Logf("%s: %v", name, absent)
			continue
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for what, bad := range map[string]string{
			"of another key":      other.Token("RS256"),
			"expired":             issuer.Token("RS256", oidctest.Claims{"exp": time.Now().Add(-time.Hour).Unix()}),
			"for another service": issuer.Token("RS256", oidctest.Claims{"aud": "other"}),
			"of another issuer":   issuer.Token("RS256", oidctest.Claims{"iss": "https://evil.example"}),
		} {
			if err := p.try(w.request(bad)); err == nil || !strings.Contains(err.Error(), "answer is HTTP/1.1 401") {
				t.Errorf("%s, a token %s: %v, want 401", name, what, err)
			}
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestTokensAreOfOneSize(t *testing.T) {
	issuer := oidctest.New("http://127.0.0.1:1234/realms/example-realm")
	reference := len(issuer.Token("RS256"))
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		for _, i := range []int{0, 99_999} {
			if n := len(token(issuer, algorithm, i, reference)); n < 1200 || n > 1500 {
				t.Errorf("%s token %d has %d bytes, want 1200 to 1500", algorithm, i, n)
			}
		}
	}
}

func TestVerificationTable(t *testing.T) {
	issuer := oidctest.New("https://id.example/realms/example-realm")
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		signed := issuer.Token(algorithm)
		subjects := []*subject{
			{name: "bare signature", call: bare(issuer.Key(algorithm).Public(), signed)},
			{name: "nothing", call: func() error { return nil }},
		}
		if err := compare(t.Context(), 2, subjects); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		if rows := subjectTable(subjects).rows; len(rows) != 2 || rows[0][2] != "1" {
			t.Errorf("%s: rows are %q", algorithm, rows)
		}
		last := signed[:len(signed)-4] + "AAAA"
		if bare(issuer.Key(algorithm).Public(), last)() == nil {
			t.Errorf("%s: the bare verification takes a wrong signature", algorithm)
		}
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	r := report{title: "A title", sections: []section{
		{heading: "One", header: []string{"", "x"}, rows: [][]string{{"a", "1"}}, chart: &chart{
			file: "one.svg", title: "a < b & c", unit: " µs", bars: []bar{{"<ours>", 1.5, true}, {"peer", 0, false}},
		}},
		goals(goal{"fast", 0.96, true, 0.95, ""}, goal{"small", 65, false, 64, " MiB"}),
	}}
	if err := r.write(dir, "part", "a machine", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "part.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# A title", "![a < b & c](one.svg)", "| a | 1 |", "1 January 1970: a machine.",
		"| fast | at least 0.95 | 0.96 | met |", "| small | at most 64.0 MiB | 65.0 MiB | **missed** |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	svg, err := os.Open(filepath.Join(dir, "one.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer svg.Close()
	var bars int
	for d := xml.NewDecoder(svg); ; {
		element, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
		if start, ok := element.(xml.StartElement); ok && start.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 3 { // the ground too
		t.Errorf("%d rectangles, want 3", bars)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1: "1", 0.954: "0.95", 1.5: "1.5", 12.34: "12.3", 123.4: "123", 51234: "51234"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) is %s, want %s", v, got, want)
		}
	}
}

// The bare program registers what the stack registers, type by type, or the
// ratio would compare two things.
func TestScale(t *testing.T) {
	dir := t.TempDir()
	if err := build(t.Context(), "..", filepath.Join(dir, "stack"), "."); err != nil {
		t.Fatal(err)
	}
	if err := build(t.Context(), ".", filepath.Join(dir, "bare"), "./program"); err != nil {
		t.Fatal(err)
	}
	s := stack{dir: dir, root: "..", size: options{users: 100}.size()}
	table, reached, err := s.registration(t.Context(), options{rounds: 1}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.rows) != 2 || reached.value <= 0 {
		t.Errorf("rows are %q", table.rows)
	}
	whole, realm, err := s.realm(t.Context(), "other", s.size)
	if err != nil {
		t.Fatal(err)
	}
	if realm.Name != "other" || strings.Count(string(whole), `"user-`) < 100 {
		t.Errorf("realm %s lacks users", realm.Name)
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-slice", "0s"}, {"-users", "1"}, {"extra"}, {"-typo"}} {
		if err := run(context.Background(), append([]string{"-speed=false", "-scale=false", "-out", t.TempDir()}, args...),
			func(string) string { return "" }, nil, io.Discard, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestTrialsAreTheOnesAsked(t *testing.T) {
	cold := map[string]int{}
	warm := map[string]bool{}
	for _, x := range trials() {
		if x.warm {
			warm[x.contender+" "+strconv.Itoa(x.tokens)] = true
		} else if x.contender != unprotected {
			cold[x.algorithm]++
		}
	}
	if got := slices.Sorted(maps.Keys(warm)); !slices.Equal(got, []string{ours + " 1", ours + " 100000", ours + " 5000", goOIDCCached + " 5000"}) {
		t.Errorf("warm are %q", got)
	}
	if !maps.Equal(cold, map[string]int{"RS256": 5, "ES256": 5, "EdDSA": 5}) {
		t.Errorf("cold are %v", cold)
	}
}
