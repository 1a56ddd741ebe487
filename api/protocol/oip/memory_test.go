package oip

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

func codeOf(err error) refusal.Code {
	var refused *refusal.Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// watch passes a body, in parts of one byte or as a whole.
func watch(body string, h http.Header, rules *policy.Body, inBytes bool) (string, error) {
	var from io.Reader = strings.NewReader(body)
	if inBytes {
		from = iotest.OneByteReader(from)
	}
	watched, err := noSharedMemory(from, h, rules)
	if err != nil {
		return "", err
	}
	passed, err := io.ReadAll(watched)
	return string(passed), err
}

// By shared memory a caller would have the model server read and write what others
// registered (Triton's shared memory extensions; CVE-2025-23319, CVE-2025-23320, CVE-2025-23334).
func TestNoSharedMemory(t *testing.T) {
	input := func(parameter string) string {
		return `{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{` + parameter + `}}]}`
	}
	binary := http.Header{headerLengthName: {"92"}}
	for _, test := range []struct {
		name, body string
		header     http.Header
		code       refusal.Code
	}{
		{"of an input", input(`"shared_memory_region":"r","shared_memory_byte_size":4`), nil, refusal.MemberRefused},
		{"with a space before the colon", input(`"shared_memory_offset"` + " \r\n\t" + `:0`), nil, refusal.MemberRefused},
		{"of an output", `{"inputs":[],"outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]}`, nil, refusal.MemberRefused},
		{"escaped", input(`"\u0073hared_memory_region":"r"`), nil, refusal.MemberRefused},
		{"escaped as a whole", input(`"` + `\u0073\u0068\u0061\u0072\u0065\u0064\u005f\u006d\u0065\u006d\u006f\u0072\u0079\u005f\u0072\u0065\u0067\u0069\u006f\u006e` + `":"r"`), nil, refusal.MemberRefused},
		{"in another case", input(`"Shared_Memory_Region":"r"`), nil, refusal.MemberRefused},
		{"with a long s (Unicode folding)", input(`"ſhared_memory_region":"r"`), nil, refusal.MemberRefused},
		{"behind a text that ends with a backslash", `{"id":"\\","x":{"shared_memory_region":"r"}}`, nil, refusal.MemberRefused},
		{"behind a text with a quote", `{"id":"\"","x":{"shared_memory_region":"r"}}`, nil, refusal.MemberRefused},
		{"behind much", `{"data":[` + strings.Repeat(`1.5,"a\n",`, 50_000) + `0],"parameters":{"shared_memory_region":"r"}}`, nil, refusal.MemberRefused},
		{"before binary data", input(`"shared_memory_region":"r","binary_data_size":4`) + "\x00\x00\x00\x00", http.Header{headerLengthName: {"130"}}, refusal.MemberRefused},
		{"compressed, which hides it", "\x1f\x8b", http.Header{"Content-Encoding": {"gzip"}}, refusal.EncodingUnsupported},
		{"a length in two ways", `{}`, http.Header{headerLengthName: {"2", "3"}}, refusal.BodyMalformed},
		{"a length with a sign", `{}`, http.Header{headerLengthName: {"+2"}}, refusal.BodyMalformed},
		{"a length in hexadecimal", `{}`, http.Header{headerLengthName: {"0x2"}}, refusal.BodyMalformed},
		{"a length in octal, for some", `{}`, http.Header{headerLengthName: {"010"}}, refusal.BodyMalformed},
		{"a list of lengths", `{}`, http.Header{headerLengthName: {"2, 2"}}, refusal.BodyMalformed},
		{"a length that overflows", `{}`, http.Header{headerLengthName: {"18446744073709551618"}}, refusal.BodyMalformed},

		{"plain", input(`"binary_data_size":4`), nil, ""},
		{"as a text", `{"inputs":[{"data":["shared_memory_region"]}],"id":"shared_memory_region"}`, nil, ""},
		{"as the last text", `"shared_memory_region"`, nil, ""},
		{"a name that only ends so", input(`"my_shared_memory_region":1`), nil, ""},
		{"in binary data", input(`"binary_data_size":24`) + `"shared_memory_region":1`, binary, ""},
		{"NaN, which Triton reads", `{"data":[NaN]}`, nil, ""},
	} {
		for _, inBytes := range []bool{false, true} {
			passed, err := watch(test.body, test.header, nil, inBytes)
			if codeOf(err) != test.code || test.code == "" && (err != nil || passed != test.body) {
				t.Errorf("%s, in bytes %v: got %v, want %s", test.name, inBytes, err, test.code)
			}
		}
		if test.code == refusal.MemberRefused || test.code == refusal.EncodingUnsupported {
			if passed, err := watch(test.body, test.header, &policy.Body{Allow: []string{"shared_memory_*"}}, false); err != nil || passed != test.body {
				t.Errorf("%s, where it is allowed: %v", test.name, err)
			}
		}
	}
	one := &policy.Body{Allow: []string{"shared_memory_region"}}
	if _, err := watch(input(`"shared_memory_region":"r"`), nil, one, true); err != nil {
		t.Errorf("the one that is allowed: %v", err)
	}
	if _, err := watch(input(`"shared_memory_offset":1`), nil, one, true); codeOf(err) != refusal.MemberRefused {
		t.Errorf("another than the one that is allowed: %v", err)
	}
}

// FuzzNoSharedMemory: in JSON that encoding/json reads no such member gets through,
// however the body comes in parts, and what is refused has one.
func FuzzNoSharedMemory(f *testing.F) {
	f.Add([]byte(`{"a":{"shared_memory_region":1}}`), 7)
	f.Add([]byte(`{"\u0073hared_memory_x" :[],"":"\\"}`), 3)
	f.Fuzz(func(t *testing.T, body []byte, at int) {
		at = min(max(at, 0), len(body))
		watched, err := noSharedMemory(io.MultiReader(strings.NewReader(string(body[:at])), strings.NewReader(string(body[at:]))), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		passed, err := io.ReadAll(watched)
		if err == nil && string(passed) != string(body) {
			t.Fatalf("%q became %q", body, passed)
		}
		var value any
		if json.Unmarshal(body, &value) != nil {
			return
		}
		if has := hasSharedMemory(value); has != (err != nil) {
			t.Fatalf("%q: found %v, there is %v", body, err, has)
		}
	})
}

func hasSharedMemory(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if strings.HasPrefix(strings.ToLower(strings.ToUpper(name)), "shared_memory_") || hasSharedMemory(member) {
				return true
			}
		}
	case []any:
		for _, element := range value {
			if hasSharedMemory(element) {
				return true
			}
		}
	}
	return false
}
