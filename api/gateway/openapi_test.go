package gateway

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keycloak-model-api/api/responses"
	"keycloak-model-api/policy"
)

// document is what the test reads of openapi.json.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas   map[string]map[string]any
		Responses map[string]documentedResponse
	}
}

type operation struct {
	OperationID string
	Responses   map[string]documentedResponse
	RequestBody *struct {
		Content map[string]struct{ Example json.RawMessage }
	}
}

type documentedResponse struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema map[string]any }
}

func readDocument(t *testing.T) *document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openAPIDocument, &d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("version %q", d.OpenAPI)
	}
	return &d
}

// operations returns a path's operations by method.
func (d *document) operations(t *testing.T, path string) map[string]operation {
	t.Helper()
	all := map[string]operation{}
	for name, raw := range d.Paths[path] {
		if name == "parameters" {
			continue
		}
		var o operation
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatalf("%s %s: %v", name, path, err)
		}
		all[strings.ToUpper(name)] = o
	}
	return all
}

// handled returns the patterns of routes.go: the document and the routes are
// two lists of the same, and only this one serves.
func handled(t *testing.T) (patterns []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "routes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Handle" && f.Sel.Name != "HandleFunc" {
			return true
		}
		switch argument := call.Args[0].(type) {
		case *ast.BasicLit:
			pattern, err := strconv.Unquote(argument.Value)
			if err != nil {
				t.Fatal(err)
			}
			patterns = append(patterns, strings.ReplaceAll(pattern, "...}", "}"))
		case *ast.Ident:
			if argument.Name == "path" {
				break // of a protocol, see below
			}
			if argument.Name != "metadataPath" {
				t.Fatalf("pattern %s: teach this test its value", argument.Name)
			}
			patterns = append(patterns, metadataPath)
		case *ast.SelectorExpr: // of a protocol, see below
		default:
			t.Fatalf("a pattern that is neither text nor a constant")
		}
		return true
	})
	for _, p := range protocols() {
		if p.Live != "" {
			patterns = append(patterns, p.Live, p.Ready)
		}
		for _, route := range p.Routes {
			patterns = append(patterns, strings.ReplaceAll(route.Path, "...}", "}"))
		}
	}
	return patterns
}

// Every route is documented, and every documented path is a route.
func TestContractNamesEveryRoute(t *testing.T) {
	d := readDocument(t)
	var routes []string
	for _, pattern := range handled(t) {
		if pattern == "/" {
			continue // nothing is there
		}
		routes = append(routes, strings.TrimSuffix(pattern, "{$}"))
	}
	slices.Sort(routes)
	routes = slices.Compact(routes) // of two protocols or methods
	if documented := slices.Sorted(maps.Keys(d.Paths)); !slices.Equal(routes, documented) {
		t.Errorf("routes     %q\ndocumented %q", routes, documented)
	}
}

// Every documented operation answers by its document, to callers of every
// kind; every other method of its path is refused.
func TestContractHolds(t *testing.T) {
	listed := upstreamOf(t, "listed", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	listed.Protocol, listed.Upstream.Paths = policy.ProtocolPaths, []string{"POST /invocations", "GET /invocations"}
	s := newSite(t, openAIOf(t, "talks", nil), listed)
	d := readDocument(t)
	valid := "Bearer " + s.issuer.Token("RS256")
	callers := map[string][]string{
		"nobody":          {},
		"a valid token":   {"Authorization", valid},
		"a bad token":     {"Authorization", "Bearer x"},
		"two credentials": {"Authorization", valid, "Cookie", "insecure-loopback-session=x"},
	}
	ids := map[string]bool{}
	for path := range d.Paths {
		operations := d.operations(t, path)
		model := "iris"
		if strings.HasPrefix(path, "/v1/") {
			model = "talks"
		} else if strings.Contains(path, "{path}") {
			model = "listed"
		}
		target := strings.NewReplacer("{model}", model, "{file}", "style.css", "{path}", "invocations", "{version}", "1").Replace(path)
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			o, documented := operations[method]
			if documented && (o.OperationID == "" || ids[o.OperationID]) {
				t.Errorf("%s %s: operationId %q is missing or not unique", method, path, o.OperationID)
			}
			ids[o.OperationID] = true
			for caller, headers := range callers {
				r, err := http.NewRequest(method, s.url+target, strings.NewReader(""))
				if err != nil {
					t.Fatal(err)
				}
				if documented && o.RequestBody != nil {
					for contentType, content := range o.RequestBody.Content {
						r, err = http.NewRequest(method, s.url+target, strings.NewReader(string(content.Example)))
						if err != nil {
							t.Fatal(err)
						}
						r.Header.Set("Content-Type", contentType)
					}
				}
				for i := 0; i < len(headers); i += 2 {
					r.Header.Set(headers[i], headers[i+1])
				}
				response, body := send(t, r)
				name := method + " " + path + " by " + caller
				if !documented {
					// Who may not know the path doesn't hear of its methods.
					unlisted := response.StatusCode == http.StatusNotFound && (strings.Contains(path, "{path}") || strings.Contains(path, "/generate"))
					if response.StatusCode != http.StatusMethodNotAllowed && !unlisted && (response.StatusCode < 400 || response.StatusCode > 403) {
						t.Errorf("%s: %d, want 405", name, response.StatusCode)
					}
					continue
				}
				if response.StatusCode == http.StatusMethodNotAllowed {
					t.Errorf("%s: the method is documented and refused", name)
				}
				d.check(t, name, o, response, body)
			}
		}
	}
}

// A model's server may answer what no document can list: just the operations
// that pass it on say so.
func TestContractNamesWhatIsPassedOn(t *testing.T) {
	teapot := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
	}
	listed := upstreamOf(t, "listed", teapot)
	listed.Protocol, listed.Upstream.Paths = policy.ProtocolPaths, []string{"POST /invocations", "GET /invocations"}
	talks := openAIOf(t, "talks", teapot)
	talks.Stateful = true
	f := newFixture(t, upstreamOf(t, "elsewhere", teapot), talks, anthropicOf(t, "claude", teapot), listed)
	subject, _ := f.issuer.Claims()["sub"].(string)
	f.gateway.owners.Keep("resp_1", responses.Owner{Issuer: f.issuer.URL, Subject: subject, Model: "talks"})
	d := readDocument(t)
	for path := range d.Paths {
		for method, o := range d.operations(t, path) {
			target, body := strings.NewReplacer("{model}/{path}", "listed/invocations", "{model}", "elsewhere", "{file}", "style.css", "{version}", "1", "{response}", "resp_1").Replace(path), `{"model":"talks"}`
			if strings.HasPrefix(path, "/v1/messages") {
				body = `{"model":"claude"}`
			}
			contentType := jsonType
			if strings.HasPrefix(path, "/v1/audio/") {
				contentType, body = "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntalks\r\n--b--\r\n"
			}
			response, _ := f.do(t, method, target, f.issuer.Token("RS256"), contentType, body)
			passedOn := response.StatusCode == http.StatusTeapot
			documented, ok := o.Responses["default"]
			if documented.Ref != "" {
				documented = d.Components.Responses[strings.TrimPrefix(documented.Ref, "#/components/responses/")]
			}
			if _, any := documented.Content["*/*"]; ok != passedOn || any != passedOn {
				t.Errorf("%s %s: passed on is %v, documented as default is %v, with any media type %v", method, path, passedOn, ok, any)
			}
		}
	}
}

// check compares an answer with its documentation.
func (d *document) check(t *testing.T, name string, o operation, response *http.Response, body string) {
	t.Helper()
	documented, ok := o.Responses[strconv.Itoa(response.StatusCode)]
	if !ok {
		t.Errorf("%s: status %d is not documented: %s", name, response.StatusCode, body)
		return
	}
	if documented.Ref != "" {
		documented = d.Components.Responses[strings.TrimPrefix(documented.Ref, "#/components/responses/")]
	}
	if len(documented.Content) == 0 {
		return
	}
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	content, ok := documented.Content[mediaType]
	if err != nil || !ok {
		t.Errorf("%s: %d has media type %q, which is not documented", name, response.StatusCode, mediaType)
		return
	}
	if mediaType == "text/html" {
		return
	}
	var value any
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	d.validate(t, name, content.Schema, value)
}

// validate checks value by the keywords of JSON Schema that the document uses.
func (d *document) validate(t *testing.T, where string, schema map[string]any, value any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema = d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
		if schema == nil {
			t.Fatalf("%s: %s leads nowhere", where, ref)
		}
	}
	if want, ok := schema["const"]; ok && value != want {
		t.Errorf("%s: %v, want %v", where, value, want)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, value) {
		t.Errorf("%s: %v is none of %v", where, value, enum)
	}
	var good bool
	switch schema["type"] {
	case "object":
		var object map[string]any
		object, good = value.(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := object[name.(string)]; !ok {
				t.Errorf("%s: lacks %v", where, name)
			}
		}
		properties, described := schema["properties"].(map[string]any)
		for name, member := range object {
			property, ok := properties[name].(map[string]any)
			if !ok && described {
				t.Errorf("%s: %s is not documented", where, name)
			} else if ok {
				d.validate(t, where+"."+name, property, member)
			}
		}
	case "array":
		var array []any
		array, good = value.([]any)
		if items, ok := schema["items"].(map[string]any); ok {
			for _, item := range array {
				d.validate(t, where+"[]", items, item)
			}
		}
	case "string":
		_, good = value.(string)
	case "integer":
		number, ok := value.(float64)
		good = ok && number == float64(int64(number))
	case "boolean":
		_, good = value.(bool)
	case nil:
		good = true
	}
	if !good {
		t.Errorf("%s: %v is not of type %v", where, value, schema["type"])
	}
}

// Every reference leads somewhere, and every component is used.
func TestContractReferences(t *testing.T) {
	var all map[string]any
	if err := json.Unmarshal(openAPIDocument, &all); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
			}
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(all)
	var defined []string
	for _, kind := range []string{"schemas", "responses"} {
		for name := range all["components"].(map[string]any)[kind].(map[string]any) {
			defined = append(defined, "#/components/"+kind+"/"+name)
		}
	}
	slices.Sort(defined)
	if got := slices.Sorted(maps.Keys(used)); !slices.Equal(got, defined) {
		t.Errorf("used    %q\ndefined %q", got, defined)
	}
}
