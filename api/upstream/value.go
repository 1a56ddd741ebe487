package upstream

import "strings"

// encodedPrefix begins a header's value that is encoded: the character set and
// the empty language of an ext-value (RFC 8187, section 3.2.1).
const encodedPrefix = "UTF-8''"

// HeaderValue returns the value of a header that stands for text: text itself
// where it arrives as it is, otherwise an ext-value, in which each byte that is
// not an attr-char is written as % and two hex digits. Encoded is what has a
// byte outside printable ASCII, a space at one of its ends, which readers drop
// (RFC 9110, section 5.5), or encodedPrefix in any case. So no two texts have
// the same value.
func HeaderValue(text string) string {
	if plain(text) {
		return text
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(encodedPrefix) + 3*len(text))
	b.WriteString(encodedPrefix)
	for _, c := range []byte(text) {
		if attrChar(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func plain(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	if len(text) >= len(encodedPrefix) && strings.EqualFold(text[:len(encodedPrefix)], encodedPrefix) {
		return false
	}
	return text == "" || text[0] != ' ' && text[len(text)-1] != ' '
}

// attrChar is of RFC 8187, section 3.2.1.
func attrChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0
}
