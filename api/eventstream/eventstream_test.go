package eventstream

import (
	"slices"
	"strings"
	"testing"
)

// Where an event ends (WHATWG HTML, section 9.2.6), however the bytes come in parts.
func TestLast(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		ends []int
	}{
		"LF":                      {"a\nb\n\nc\n\n", []int{5, 8}},
		"CR":                      {"a\r\rb\r\r", []int{3, 6}},
		"CR LF":                   {"a\r\n\r\nb\r\n\r\n", []int{4, 5, 9, 10}}, // after CR too: what follows is the same line end
		"LF CR LF":                {"a\n\r\nb", []int{3, 4}},
		"a comment":               {":\n\n", []int{3}},
		"nothing but line ends":   {"\n\n", []int{1, 2}},
		"one line end":            {"a\nb\n", nil},
		"a colon without an end":  {"data:", nil},
		"CR LF that ends no line": {"a\r\nb\r\n", nil},
	} {
		for at := range len(test.text) + 1 {
			var s Splitter
			got := s.Last([]byte(test.text[:at]))
			if whole := s.Last([]byte(test.text[at:])); whole > 0 {
				got = at + whole
			}
			want := 0
			if n := len(test.ends); n > 0 {
				want = test.ends[n-1]
			}
			if got != want {
				t.Errorf("%s, cut at %d: the last event ends at %d, want %d", name, at, got, want)
			}
		}
	}
}

// Each event comes by itself, with the line ends behind it.
func TestNext(t *testing.T) {
	var s Splitter
	rest, got := []byte("a\n\nb\r\n\r\nc\r\rd\n\re\n"), []string{}
	for n := s.Next(rest); n > 0; n = s.Next(rest) {
		got, rest = append(got, string(rest[:n])), rest[n:]
	}
	if want := []string{"a\n\n", "b\r\n\r\n", "c\r\r", "d\n\r"}; !slices.Equal(got, want) || string(rest) != "e\n" {
		t.Errorf("got %q and %q, want %q", got, rest, want)
	}
}

// FuzzSplitter: cut anywhere, the end of the last event is the same, and an empty
// line stands before it.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("data: 1\n\ndata"), 3)
	f.Add([]byte("a\r\n\r\nb\r\r"), 4)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		var whole, cut Splitter
		want := whole.Last(text)
		at = min(max(at, 0), len(text))
		got := cut.Last(text[:at])
		if more := cut.Last(text[at:]); more > 0 {
			got = at + more
		}
		if got != want {
			t.Fatalf("%q cut at %d: %d, whole: %d", text, at, got, want)
		}
		plain := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(text[:want]))
		var each Splitter
		var events []string
		for rest := text[:want]; len(rest) > 0; {
			n := each.Next(rest)
			if n == 0 {
				t.Fatalf("%q: no event ends in %q, the rest of %q", text, rest, text[:want])
			}
			events, rest = append(events, string(rest[:n])), rest[n:]
		}
		if strings.Join(events, "") != string(text[:want]) {
			t.Fatalf("%q: the events are %q", text, events)
		}
		if want > 0 && plain != "\n" && !strings.HasSuffix(plain, "\n\n") {
			t.Fatalf("%q: no empty line before %d", text, want)
		}
	})
}
