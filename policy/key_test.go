package policy

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

const secret256 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG" // 43 characters

// A key is only characters of b64token (RFC 6750, section 2.1), is found by the
// published pattern, and says what it was made of.
func TestServiceKey(t *testing.T) {
	pattern := regexp.MustCompile("^" + ServiceKeyPattern + "$")
	b64token := regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
	for _, test := range [][2]string{{"a", "b"}, {"batch", secret256}, {"a/b:c", "_-_-"}, {"kürbis", "s"}, {strings.Repeat("c", 200), strings.Repeat("s", 171)}} {
		key, err := NewServiceKey(test[0], test[1])
		if err != nil {
			t.Fatal(err)
		}
		if !pattern.MatchString(key) && len(test[0]+test[1]) > 3 || !b64token.MatchString(key) || len(key) > MaxServiceKey {
			t.Errorf("%q is none by the pattern, or of too many characters: %d", key, len(key))
		}
		if id, secret, err := ParseServiceKey(key); err != nil || id != test[0] || secret != test[1] {
			t.Errorf("%q is read as %q, %q, %v", key, id, secret, err)
		}
	}
	for _, test := range [][2]string{{"", "s"}, {"c", ""}, {"a\x00b", "s"}, {"c", "s\x00"}, {strings.Repeat("c", 200), strings.Repeat("s", 172)}} {
		if key, err := NewServiceKey(test[0], test[1]); err == nil {
			t.Errorf("%q, %q becomes %q", test[0], test[1], key)
		}
	}
}

// What only looks like a key is refused, and the error holds nothing of it.
func TestServiceKeyRefused(t *testing.T) {
	good, err := NewServiceKey("batch", secret256)
	if err != nil {
		t.Fatal(err)
	}
	with := func(text string) string {
		body := keyVersion + base64.RawURLEncoding.EncodeToString([]byte(text))
		return body + sumOf(body)
	}
	raw := func(body string) string { return keyVersion + body + sumOf(keyVersion+body) }
	for name, key := range map[string]string{
		"nothing":                        "",
		"the prefix alone":               "kma_1_",
		"another version":                strings.Replace(good, "kma_1_", "kma_2_", 1),
		"another prefix":                 "x" + good,
		"in capitals":                    strings.ToUpper(good),
		"one character changed":          strings.Replace(good, "Y", "Z", 1),
		"cut off":                        good[:len(good)-1],
		"check sum in capitals":          good[:len(good)-8] + strings.ToUpper(good[len(good)-8:]) + "A",
		"no zero byte":                   with("batch" + secret256),
		"two zero bytes":                 with("batch\x00" + secret256 + "\x00"),
		"no client id":                   with("\x00" + secret256),
		"no secret":                      with("batch\x00"),
		"padded":                         raw("YgBzcw=="),
		"bits left over (RFC 4648, 3.5)": raw("YgBzcx"),
		"a line end":                     raw("YgBz\nYgBz"),
		"the other base64":               raw("+/+/"),
		"too long":                       raw(strings.Repeat("YgBz", 200)),
	} {
		id, secret, err := ParseServiceKey(key)
		if err == nil {
			t.Errorf("%s: read as %q and %q", name, id, secret)
		} else if len(key) > 40 && strings.Contains(err.Error(), key[10:20]) {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}

// FuzzServiceKey: what is read is written the same, so a client id and a secret
// have one key.
func FuzzServiceKey(f *testing.F) {
	good, err := NewServiceKey("batch", secret256)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("kma_1__00000000")
	f.Fuzz(func(t *testing.T, key string) {
		id, secret, err := ParseServiceKey(key)
		if err != nil {
			return
		}
		if again, err := NewServiceKey(id, secret); err != nil || again != key {
			t.Errorf("%q is read as %q and %q, which are written as %q: %v", key, id, secret, again, err)
		}
	})
}
