package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
)

// Paths as they stand in a request line. What is not canonical gets 400,
// never a redirect and never another resource.
func TestPaths(t *testing.T) {
	tests := []struct {
		name, target string
		status       int
	}{
		{"as it should be", "/v2/models/iris", 200},
		{"unreserved characters", "/v2/models/a.b_c-d~e", 404},
		{"segment of three dots", "/v2/models/...", 404},
		{"absolute form (RFC 9112 3.2.2)", "http://other.example/v2/models/iris", 200},
		{"query", "/v2/models/iris?x=%2e%2e/", 200},

		// Only where the rest of the path is the name of a model.
		{"name with slash and colon", "/v1/models/org/talks:8b", 200},
		{"escaped as encodeURIComponent has it", "/v1/models/org%2Ftalks%3A8b", 200},
		{"escaped in small letters", "/v1/models/org%2ftalks%3a8b", 200},
		{"half of it escaped", "/v1/models/org%2Ftalks:8b", 200},
		{"name escaped twice", "/v1/models/org%252Ftalks%3A8b", 400},
		{"dot segments in a name", "/v1/models/org/../org/talks:8b", 400},
		{"escaped dot segments in a name", "/v1/models/org%2F..%2Forg%2Ftalks:8b", 400},
		{"dot segments out of the list", "/v1/models/..%2F..%2Fv2%2Fmodels%2Firis", 400},
		{"escaped letter in a name", "/v1/models/org/%74alks:8b", 400},
		{"empty part of a name", "/v1/models/org%2F%2Ftalks:8b", 400},
		{"no name", "/v1/models/", 400},
		{"slash behind a name", "/v1/models/org/talks:8b%2F", 400},
		{"NUL in a name", "/v1/models/org%00/talks:8b", 400},
		{"colon elsewhere", "/v2/models/iris:8b", 400},
		{"escaped slash in front of the list", "/v1%2Fmodels/org/talks:8b", 400},

		{"slash at the end", "/v2/models/iris/", 400},
		{"double slash", "/v2//models/iris", 400},
		{"double slash at the start", "//v2/models/iris", 400},
		{"dot segment", "/v2/./models/iris", 400},
		{"dot segments", "/v2/models/forbidden/../iris", 400},
		{"dot segments above the root", "/../v2/models/iris", 400},
		{"dots at the end", "/v2/models/iris/..", 400},
		{"escaped dots", "/v2/models/forbidden/%2e%2e/iris", 400},
		{"half escaped dots", "/v2/models/forbidden/.%2E/iris", 400},
		{"escaped slash", "/v2/models%2firis", 400},
		{"escaped slash within the name", "/v2/models/forbidden%2finfer", 400},
		{"escaped letter", "/v2/models/%69ris", 400},
		{"escaped twice", "/v2/models/%252e%252e/iris", 400},
		{"NUL", "/v2/models/iris%00", 400},
		{"line break", "/v2/models/iris%0d%0aX-Principal-Subject:%20admin", 400},
		{"backslash", "/v2/models/forbidden%5c..%5ciris", 400},
		{"backslash as it is", `/v2/models/forbidden\..\iris`, 400},
		{"path parameter", "/v2/models/iris;x=1", 400},
		{"dots with a path parameter", "/v2/models/forbidden/..;/iris", 400},
		{"overlong UTF-8 of a slash", "/v2/models%c0%afiris", 400},
		{"full-width letters", "/v2/models/%ef%bd%89ris", 400},
		{"space", "/v2/models/iris%20", 400},
		{"asterisk", "*", 400},
		{"no slash at the start", "v2/models/iris", 400},
	}
	f := newFixture(t, openAIOf(t, "org/talks:8b", func(http.ResponseWriter, *http.Request) { t.Error("the model server was asked") }))
	token := f.issuer.Token("RS256")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", test.target, token)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.status {
				t.Errorf("got %s, want %d: %s", response.Status, test.status, body)
			}
			if location := response.Header.Get("Location"); location != "" {
				t.Errorf("redirect to %s", location)
			}
		})
	}
}

// A path that is not canonical is refused before the credential is looked at,
// in the shape of the tree that it is in.
func TestPathRefusedFirst(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/v2//models", "/healthz/", "/v2/health/live/"} {
		response, body := f.do(t, "GET", path, "", "", "")
		checkRefusal(t, response, body, path, http.StatusBadRequest, "path_not_canonical")
	}
}

// FuzzNames: an accepted path behind the prefix holds a name of one reading.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"a/b:c", "a%2Fb%3ac", "a%252Fb", "..%2Fx", "a%2F", "%2F", "a:%2e"} {
		f.Add(seed)
	}
	var name string
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/models/{model...}", func(_ http.ResponseWriter, r *http.Request) { name = r.PathValue("model") })
	f.Fuzz(func(t *testing.T, rest string) {
		u, err := url.ParseRequestURI("/v1/models/" + rest)
		if err != nil || u.RawQuery != "" || u.ForceQuery || checkPath(u, []string{"/v1/models/"}) != nil {
			return
		}
		name = ""
		mux.ServeHTTP(httptest.NewRecorder(), &http.Request{Method: "GET", URL: u, Host: "api"})
		if got := path.Clean("/" + name); got != "/"+name || strings.ContainsAny(name, "%\\ ") || "/v1/models/"+name != u.Path {
			t.Fatalf("%q: the name is %q, the path %q", rest, name, u.Path)
		}
	})
}

// FuzzCheckPath: an accepted path is understood the same by everything that
// could read it after us.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"/", "/v2/models/iris", "/v2//x", "/a/../b", "/%2e%2e/", "/a%2fb", "/a;b", "//host/x", "http://h/x", "*", "/a/.", "/~a"} {
		f.Add(seed)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || checkPath(u, nil) != nil {
			return
		}
		if u.RawPath != "" || u.EscapedPath() != u.Path {
			t.Fatalf("%q: escapes were accepted: %q", target, u.EscapedPath())
		}
		if path.Clean(u.Path) != u.Path {
			t.Fatalf("%q: path.Clean changes it", target)
		}
		if out := (&url.URL{Scheme: "http", Host: "upstream.example", Path: u.Path}).String(); out != "http://upstream.example"+u.Path {
			t.Fatalf("%q: the upstream would get %s", target, out)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Host: "api"})
		if w.Code != http.StatusTeapot {
			t.Fatalf("%q: ServeMux answers %d", target, w.Code)
		}
	})
}
