package form

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"testing/iotest"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

const contentType = "multipart/form-data; boundary=b"

func codeOf(err error) refusal.Code {
	var refused *refusal.Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// through reads a form and returns what a model server would get.
func through(contentType, body string, rules protocol.Rules, inBytes bool) (model, out string, err error) {
	var from io.Reader = strings.NewReader(body)
	if inBytes {
		from = iotest.OneByteReader(from)
	}
	request, err := Read(contentType, from)
	if err != nil {
		return "", "", err
	}
	head, err := request.For(rules)
	if err != nil {
		return "", "", err
	}
	rest, err := io.ReadAll(request.Rest)
	if int64(len(head)+len(rest)) != int64(len(body))+request.Grows && err == nil {
		return "", "", errors.New("the length is wrong")
	}
	return request.Model, string(head) + string(rest), err
}

// part is one of a form with the boundary b.
func part(headers, data string) string { return "--b\r\n" + headers + "\r\n\r\n" + data + "\r\n" }

func field(name, value string) string {
	return part(`Content-Disposition: form-data; name="`+name+`"`, value)
}

func file(data string) string {
	return part("Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav", data)
}

const last = "--b--\r\n"

// Only the name of the model changes, to what the server calls it.
func TestRead(t *testing.T) {
	large := strings.Repeat("\r\n--\r\n-b\r", 20_000)
	for name, test := range map[string]struct{ body, want string }{
		"as openai-python sends it":   {field("model", "m") + field("language", "en") + file("RIFF"), field("model", "up/m:1") + field("language", "en") + file("RIFF")},
		"a model behind a field":      {field("prompt", "a\r\nb") + field("model", "m") + file(""), field("prompt", "a\r\nb") + field("model", "up/m:1") + file("")},
		"a large file":                {field("model", "m") + file(large), field("model", "up/m:1") + file(large)},
		"no file, which is its error": {field("model", "m"), field("model", "up/m:1")},
		"names in brackets":           {field("model", "m") + field("timestamp_granularities[]", "word"), field("model", "up/m:1") + field("timestamp_granularities[]", "word")},
		"as .NET writes it": {part("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model", "m") + part("Content-Disposition: form-data; name=file; filename=a.wav; filename*=utf-8''a.wav", "x"),
			part("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model", "up/m:1") + part("Content-Disposition: form-data; name=file; filename=a.wav; filename*=utf-8''a.wav", "x")},
	} {
		for _, inBytes := range []bool{false, true} {
			model, got, err := through(contentType, test.body+last, protocol.Rules{Model: "up/m:1"}, inBytes)
			if err != nil || model != "m" || got != test.want+last {
				t.Errorf("%s: %q, %v, %d bytes, want %d", name, model, err, len(got), len(test.want+last))
			}
			if _, got, err := through(contentType, test.body+last, protocol.Rules{}, inBytes); err != nil || got != test.body+last {
				t.Errorf("%s, unchanged: %v", name, err)
			}
		}
	}
	// The boundary may look like the name of the model.
	body := strings.ReplaceAll(field("model", "m")+file("x")+last, "--b", "--m")
	if _, got, err := through("multipart/form-data; boundary=m", body, protocol.Rules{Model: "upstream"}, false); err != nil || got != strings.Replace(body, "\r\nm\r\n", "\r\nupstream\r\n", 1) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, got, err := through(contentType, field("model", "m")+"--b--", protocol.Rules{}, false); err != nil || !strings.HasSuffix(got, "--b--") {
		t.Errorf("without a line end behind it: %v", err)
	}
}

// Forms in which two readers may find two models, or which steer (CWE-436,
// CVE-2022-39956 and the bypasses of multipart filters in WAFs).
func TestReadRefuses(t *testing.T) {
	model := field("model", "m")
	for _, test := range []struct {
		name, contentType, body string
		code                    refusal.Code
	}{
		{"the file first", "", file("x") + model, refusal.BodyMalformed},
		{"no model", "", field("prompt", "a"), refusal.BodyMalformed},
		{"nothing", "", "", refusal.BodyMalformed},
		{"the model twice", "", model + model, refusal.BodyMalformed},
		{"the model twice, behind the file", "", model + file("x") + field("model", "other"), refusal.BodyMalformed},
		{"the model in another case", "", field("Model", "m"), refusal.BodyMalformed},
		{"another one in another case", "", model + field("MODEL", "other"), refusal.BodyMalformed},
		{"another one as a list (PHP, Rails)", "", model + field("model[]", "other"), refusal.BodyMalformed},
		{"the model with a file name", "", part(`Content-Disposition: form-data; name="model"; filename="m"`, "m"), refusal.BodyMalformed},
		{"the model with an empty file name", "", part(`Content-Disposition: form-data; name="model"; filename=""`, "m"), refusal.BodyMalformed},
		{"the model with an encoded file name", "", part(`Content-Disposition: form-data; name="model"; filename*=utf-8''m`, "m"), refusal.BodyMalformed},
		{"name* (RFC 7578, 4.2)", "", part(`Content-Disposition: form-data; name*=utf-8''model`, "m"), refusal.BodyMalformed},
		{"name and name*", "", model + part(`Content-Disposition: form-data; name="x"; name*=utf-8''model`, "other"), refusal.BodyMalformed},
		{"name in parts (RFC 2231)", "", part(`Content-Disposition: form-data; name*0="mod"; name*1="el"`, "m"), refusal.BodyMalformed},
		{"two names", "", part(`Content-Disposition: form-data; name="model"; name="x"`, "m"), refusal.BodyMalformed},
		{"a name with an escape", "", part(`Content-Disposition: form-data; name="mod\el"`, "m"), refusal.BodyMalformed},
		{"a name with a quote in it", "", part(`Content-Disposition: form-data; name="x\"; name="model"`, "m"), refusal.BodyMalformed},
		{"a name in percent", "", part(`Content-Disposition: form-data; name="mod%65l"`, "m"), refusal.BodyMalformed},
		{"a name with a space", "", part(`Content-Disposition: form-data; name="model "`, "m"), refusal.BodyMalformed},
		{"NAME in capitals", "", part(`Content-Disposition: form-data; NAME="model"`, "m"), refusal.BodyMalformed},
		{"no name", "", part(`Content-Disposition: form-data`, "m"), refusal.BodyMalformed},
		{"no disposition", "", part(`Content-Type: text/plain`, "m"), refusal.BodyMalformed},
		{"two dispositions", "", part("Content-Disposition: form-data; name=\"model\"\r\ncontent-disposition: form-data; name=\"x\"", "m"), refusal.BodyMalformed},
		{"a folded header (RFC 5322, 2.2.3)", "", part("Content-Disposition: form-data;\r\n name=\"model\"", "m"), refusal.BodyMalformed},
		{"a header that ends with LF", "", "--b\r\nContent-Disposition: form-data; name=\"x\"\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n", refusal.BodyMalformed},
		{"a space before the colon", "", part(`Content-Disposition : form-data; name="model"`, "m"), refusal.BodyMalformed},
		{"another header", "", part("Content-Disposition: form-data; name=\"model\"\r\nX-Name: x", "m"), refusal.BodyMalformed},
		{"Base64 (RFC 7578, 4.7)", "", part("Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64", "bQ=="), refusal.BodyMalformed},
		{"long headers", "", part(`Content-Disposition: form-data; name="x"; filename="`+strings.Repeat("x", maxHeaders)+`"`, "m"), refusal.BodyMalformed},
		{"a preamble", "", "x\r\n" + model, refusal.BodyMalformed},
		{"an empty line first", "", "\r\n" + model, refusal.BodyMalformed},
		{"LF before the boundary", "", model + strings.Replace(field("x", "1"), "1\r\n", "1\n", 1), refusal.BodyMalformed},
		{"LF behind the boundary", "", strings.Replace(model, "--b\r\n", "--b\n", 1), refusal.BodyMalformed},
		{"the boundary within a part, where some readers take it", "", model + field("x", "a\n--b\nContent-Disposition: form-data; name=\"model\"\n\nother"), refusal.BodyMalformed},
		{"the boundary behind CR", "", model + field("x", "a\r--b\r"), refusal.BodyMalformed},
		{"space behind the boundary (RFC 2046, 5.1.1)", "", model + strings.Replace(field("x", "1"), "--b\r\n", "--b \r\n", 1), refusal.BodyMalformed},
		{"a longer boundary", "", model + strings.Replace(field("x", "1"), "--b", "--bb", 1), refusal.BodyMalformed},
		{"a part without an empty line before the boundary", "", "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n", refusal.BodyMalformed},
		{"a model of two lines", "", field("model", "m\r\nn"), refusal.BodyMalformed},
		{"an empty model", "", field("model", ""), refusal.BodyMalformed},
		{"a long model", "", field("model", strings.Repeat("m", maxModel+1)), refusal.BodyMalformed},
		{"much before the model", "", strings.Repeat(field("prompt", strings.Repeat("x", 1000)), 80) + model, refusal.BodyMalformed},
		{"two boundaries", "multipart/form-data; boundary=b; boundary=c", model, refusal.MediaTypeUnsupported},
		{"a boundary in parts (RFC 2231)", "multipart/form-data; boundary*0=b", model, refusal.BodyMalformed},
		{"another parameter", "multipart/form-data; boundary=b; charset=utf-16", model, refusal.BodyMalformed},
		{"no boundary", "multipart/form-data", model, refusal.BodyMalformed},
		{"another multipart", "multipart/mixed; boundary=b", model, refusal.MediaTypeUnsupported},
		{"no media type", "none", model, refusal.MediaTypeUnsupported},

		{"another server (LiteLLM, CVE-2024-6587)", "", model + field("api_base", "http://x"), refusal.MemberRefused},
		{"before the model", "", field("api_base", "http://x") + model, refusal.MemberRefused},
		{"in another case", "", model + field("Api_Base", "http://x"), refusal.MemberRefused},
		{"as a list", "", model + file("x") + field("fallbacks[]", "other"), refusal.MemberRefused},
		{"with a file name", "", model + part(`Content-Disposition: form-data; name="api_base"; filename="x"`, "http://x"), refusal.MemberRefused},
		{"the principal, where the API says it", "", model + field("user", "root"), refusal.MemberRefused},
	} {
		for _, inBytes := range []bool{false, true} {
			media := contentType
			if test.contentType != "" {
				media = test.contentType
			}
			if _, out, err := through(media, test.body+last, protocol.Rules{Body: &policy.Body{Principal: "user"}}, inBytes); codeOf(err) != test.code {
				t.Errorf("%s: %v, want %s: %q", test.name, err, test.code, out)
			}
		}
	}
	if _, _, err := through(contentType, model+field("api_base", "x")+last, protocol.Rules{Body: &policy.Body{Allow: []string{"api_base"}}}, false); err != nil {
		t.Errorf("where it is allowed: %v", err)
	}
	for _, end := range []string{"", "--b", "--b-", "--b--\r\n\r\n", "--b--x", "--b--\r\n" + model, "--b\r\n"} {
		if _, _, err := through(contentType, model+end, protocol.Rules{}, true); codeOf(err) != refusal.BodyMalformed {
			t.Errorf("ending with %q: %v", end, err)
		}
	}
}

// FuzzRead: in a form that passes, mime/multipart finds the one model, and nothing
// that steers.
func FuzzRead(f *testing.F) {
	f.Add([]byte(field("model", "m") + file("x") + last))
	f.Add([]byte(field("language", "en") + field("model", "m") + file("\r\n--") + last))
	f.Fuzz(func(t *testing.T, body []byte) {
		model, got, err := through(contentType, string(body), protocol.Rules{Model: "up"}, false)
		if err != nil {
			if codeOf(err) == "" {
				t.Fatalf("%q: %v is no refusal", body, err)
			}
			return
		}
		for text, want := range map[string]string{string(body): model, got: "up"} {
			form, err := multipart.NewReader(bytes.NewReader([]byte(text)), "b").ReadForm(1 << 20)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if models := form.Value["model"]; len(models) != 1 || models[0] != want {
				t.Fatalf("%q: the models are %q, here it is %q", text, models, want)
			}
			for name := range form.Value {
				if policy.Steers(strings.ToLower(name)) {
					t.Fatalf("%q has %s", text, name)
				}
			}
		}
	})
}
