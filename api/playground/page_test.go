package playground

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"keycloak-model-api/api/embedded"
)

// hostile is a name that tries to leave every quote, tag and line.
const hostile = "a\"b'c`d\\e${f}$(g)%s\n</script>é日本🌸\u202e\u2066\u200f\x7f\u2028'''"

// rendered returns the page of a model with such metadata.
func rendered(t *testing.T, api string, m *modelView, metadata embedded.Metadata) string {
	t.Helper()
	var err error
	if m.Form, err = newForm(metadata.Inputs); err != nil {
		t.Fatal(err)
	}
	m.fill(metadata)
	m.API, m.URL = api, api+"/v2/models/m/infer"
	p := &Playground{Config: Config{Logger: slog.New(slog.DiscardHandler)}}
	p.pages = p.parse()
	w := httptest.NewRecorder()
	p.render(w, http.StatusOK, "home.html", page{Title: "m", Models: []*modelView{m}, Model: m, You: &you{Name: hostile, Roles: []string{hostile}}})
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func hostileMetadata() embedded.Metadata {
	return embedded.Metadata{
		Platform: hostile,
		Inputs: []embedded.TensorMetadata{
			{Name: hostile, Datatype: "BYTES", Shape: []int{-1}, Parameters: map[string]any{"features": []string{hostile}, "unit": hostile}},
			{Name: "n", Datatype: "FP64", Shape: []int{1}},
		},
		Outputs: []embedded.TensorMetadata{{Name: hostile, Datatype: hostile, Shape: []int{1}, Parameters: map[string]any{"classes": []string{hostile}}}},
	}
}

// CVE-2021-42574 (Trojan Source): nothing that a model or the issuer says
// changes the order of what a reader sees, or hides in it.
func TestHiddenCharactersAreShown(t *testing.T) {
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	m := &modelView{Name: "m", Failure: ""}
	m.Answer = readAnswer([]byte(`{"outputs":[{"name":`+string(quoted)+`,"datatype":"BYTES","data":[`+string(quoted)+`,`+string(quoted)+`]}]}`), nil)
	page := rendered(t, "https://models.example.com", m, hostileMetadata())
	if at := strings.IndexFunc(page, hidden); at >= 0 {
		t.Errorf("the page has %q", page[max(0, at-40):at+10])
	}
	if strings.Contains(page, "<"+"/script>é") {
		t.Error("the page is broken out of")
	}
	if !strings.Contains(page, `\u202e\u2066\u200f\u007f`) {
		t.Error("the characters are not shown")
	}

	// What the person typed comes back as it was.
	m = &modelView{Name: "m"}
	metadata := hostileMetadata()
	if m.Form, err = newForm(metadata.Inputs); err != nil {
		t.Fatal(err)
	}
	page = string(exactly("a\u202e<\"&\nb"))
	if page != "a&#x202e;&lt;&#34;&amp;&#xa;b" || html.UnescapeString(page) != "a\u202e<\"&\nb" {
		t.Errorf("typed text becomes %s", page)
	}
}

// snippets returns the programs of a page by their names.
func snippets(page string) map[string]string {
	found := map[string]string{}
	tag := regexp.MustCompile(`<[^>]*>`)
	for _, match := range regexp.MustCompile(`(?s)<pre[^>]*aria-label="([^"]*)"[^>]*><code>(.*?)</code></pre>`).FindAllStringSubmatch(page, -1) {
		found[match[1]] = html.UnescapeString(tag.ReplaceAllString(match[2], ""))
	}
	return found
}

// The snippets run as they stand: they send the request, whatever the model
// calls its tensors, and fail where the API refuses.
func TestSnippetsRun(t *testing.T) {
	var mu sync.Mutex // of what the programs, which run elsewhere, share with this test
	var status int
	var got []byte
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got, _ = io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer a-token" || r.Header.Get("Content-Type") != "application/json" || r.URL.Path != "/v2/models/m/infer" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"answer": 1}`)
	}))
	defer api.Close()
	m := &modelView{Name: "m"}
	programs := snippets(rendered(t, api.URL, m, hostileMetadata()))
	var want, sent any
	if err := json.Unmarshal([]byte(m.Request), &want); err != nil {
		t.Fatal(err)
	}
	if token := programs["How to get a token"]; token != "modelctl login -bearer -api '"+api.URL+"'\nexport TOKEN=$(modelctl token)" {
		t.Errorf("the token: %s", token)
	}

	dir := t.TempDir()
	for _, test := range []struct {
		label, file string
		check, run  []string
	}{
		{"Request as curl", "request.sh", []string{"sh", "-n", "request.sh"}, []string{"sh", "request.sh"}},
		{"Request in Python", "request.py", []string{"python3", "-W", "error", "-m", "py_compile", "request.py"}, []string{"python3", "-W", "error", "request.py"}},
		{"Request in Go", "main.go", []string{"go", "vet", "main.go"}, []string{"go", "run", "main.go"}},
		{"Request in JavaScript", "request.mjs", []string{"node", "--check", "request.mjs"}, []string{"node", "request.mjs"}},
	} {
		program := programs[test.label]
		if err := os.WriteFile(filepath.Join(dir, test.file), []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		run := func(command []string) (string, error) {
			c := exec.CommandContext(t.Context(), command[0], command[1:]...)
			c.Dir, c.Env = dir, append(os.Environ(), "TOKEN=a-token", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
			out, err := c.CombinedOutput()
			return string(out), err
		}
		if out, err := run(test.check); err != nil {
			t.Errorf("%s: %v: %s\n%s", test.label, err, out, program)
			continue
		}
		for _, answered := range []int{http.StatusOK, http.StatusUnauthorized} {
			mu.Lock()
			status, got = answered, nil
			mu.Unlock()
			out, err := run(test.run)
			if (err == nil) != (answered == http.StatusOK) || !strings.Contains(out, "answer") {
				t.Errorf("%s, answered %d: %v: %s", test.label, answered, err, out)
			}
			mu.Lock()
			if err := json.Unmarshal(got, &sent); err != nil || !bytes.Equal(canonical(sent), canonical(want)) {
				t.Errorf("%s sent %s, %v, want %s", test.label, got, err, m.Request)
			}
			mu.Unlock()
		}
	}
}

// canonical writes JSON with its members in order.
func canonical(value any) []byte {
	out, _ := json.Marshal(value) // of what was read from JSON
	return out
}

func TestAnswer(t *testing.T) {
	classes := map[string][]string{"p": {"a", "b"}}
	for _, test := range []struct {
		name, body, headline string
		outputs              []output
	}{
		{"text and probabilities", `{"outputs":[{"name":"label","datatype":"BYTES","shape":[1],"data":["a"]},{"name":"p","datatype":"FP64","shape":[1,2],"data":[0.25,0.75]}]}`, "a",
			[]output{{Name: "p", Datatype: "FP64", Shape: "1 × 2", Bars: []bar{{"a", "25.0"}, {"b", "75.0"}}}}},
		{"scores that are no probabilities", `{"outputs":[{"name":"p","data":[-3.5,9e9]}]}`, "", []output{{Name: "p", Values: "-3.5, 9e9"}}},
		{"nested, 64 bits, booleans", `{"outputs":[{"name":"x","data":[[9007199254740993,1],[true,"<s>"]]}]}`, "", []output{{Name: "x", Values: `9007199254740993, 1, true, "<s>"`}}},
		{"long text", `{"outputs":[{"name":"x","data":["one\ntwo"]}]}`, "", []output{{Name: "x", Text: "one\ntwo"}}},
		{"many", `{"outputs":[{"name":"x","data":[` + strings.Repeat("1,", 99) + `1]}]}`, "", []output{{Name: "x", Values: strings.TrimSuffix(strings.Repeat("1, ", 32), ", "), More: 68}}},
		{"data that is an object", `{"outputs":[{"name":"x","data":{"a":1}}]}`, "", []output{{Name: "x", Values: `"a", 1`}}},
		{"no data", `{"outputs":[{"name":"x"}]}`, "", []output{{Name: "x"}}},
		{"not of the protocol", `[1]`, "", nil},
		{"not JSON", "\xff", "", nil},
	} {
		got := readAnswer([]byte(test.body), classes)
		if got.Headline != test.headline || len(got.Outputs) != len(test.outputs) {
			t.Errorf("%s: %+v", test.name, got)
			continue
		}
		for i, want := range test.outputs {
			a, b := canonical(got.Outputs[i]), canonical(want)
			if !bytes.Equal(a, b) {
				t.Errorf("%s: got %s, want %s", test.name, a, b)
			}
		}
	}
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{"sepal_length": "Sepal length", "épaisseur": "Épaisseur", "ширина": "Ширина", "_": "", "x": "X"} {
		if got := label(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
