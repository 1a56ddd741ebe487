package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Two principals never look the same to a model server, and each value arrives
// as it was sent: readers drop spaces at the ends (RFC 9110, section 5.5), and
// line breaks end a field (CWE-113).
func TestHeaderValue(t *testing.T) {
	for text, want := range map[string]string{
		"model-cli":                  "model-cli",
		"":                           "",
		"a client, with spaces":      "a client, with spaces",
		"https://kc/realms/r":        "https://kc/realms/r",
		"model-cli ":                 "UTF-8''model-cli%20",
		" model-cli":                 "UTF-8''%20model-cli",
		"  admin  ":                  "UTF-8''%20%20admin%20%20",
		" ":                          "UTF-8''%20",
		"\tadmin":                    "UTF-8''%09admin",
		"a\r\nX-Principal-Client: b": "UTF-8''a%0D%0AX-Principal-Client%3A%20b",
		"a\x00b":                     "UTF-8''a%00b",
		"a\x7f":                      "UTF-8''a%7F",
		"jürgen":                     "UTF-8''j%C3%BCrgen",
		"j\xfcrgen":                  "UTF-8''j%FCrgen",
		"UTF-8''model-cli%20":        "UTF-8''UTF-8%27%27model-cli%2520", // what "model-cli " is sent as
		"utf-8''x":                   "UTF-8''utf-8%27%27x",
		"UTF-8":                      "UTF-8",
	} {
		if got := HeaderValue(text); got != want {
			t.Errorf("%q is sent as %q, want %q", text, got, want)
		}
	}
}

// FuzzHeaderValue: different texts have different values, each of which arrives
// unchanged and can be decoded.
func FuzzHeaderValue(f *testing.F) {
	f.Add("model-cli ", " model-cli")
	f.Add("UTF-8''model-cli%20", "model-cli ")
	f.Add("utf-8''a", "UTF-8''a")
	f.Add("\xff", "ÿ")
	f.Add("", " ")
	f.Fuzz(func(t *testing.T, a, b string) {
		values := [2]string{HeaderValue(a), HeaderValue(b)}
		if a != b && values[0] == values[1] {
			t.Fatalf("%q and %q are both sent as %q", a, b, values[0])
		}
		for i, text := range []string{a, b} {
			if got := decode(t, arrive(t, values[i])); got != text {
				t.Fatalf("%q is sent as %q and read as %q", text, values[i], got)
			}
		}
	})
}

// arrive is the value after a field with it was written and read.
func arrive(t *testing.T, value string) string {
	t.Helper()
	var wire strings.Builder
	wire.WriteString("GET / HTTP/1.1\r\nHost: h\r\n")
	if err := (http.Header{HeaderSubject: {value}}).Write(&wire); err != nil {
		t.Fatal(err)
	}
	wire.WriteString("\r\n")
	r, err := http.ReadRequest(newReader(wire.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Header) != 1 || len(r.Header[HeaderSubject]) != 1 {
		t.Fatalf("%q arrives as %q", value, r.Header)
	}
	return r.Header.Get(HeaderSubject)
}

// decode undoes HeaderValue as docs/api.md says.
func decode(t *testing.T, value string) string {
	t.Helper()
	encoded, ok := strings.CutPrefix(value, "UTF-8''")
	if !ok {
		return value
	}
	text, err := url.PathUnescape(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
