package gateway

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"

	"keycloak-model-api/policy"
)

// recording is a form as the official clients send it.
func recording(t *testing.T, file io.Reader, fields ...string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	part, err := w.CreateFormFile("file", "a.wav")
	if err == nil {
		_, err = io.Copy(part, file)
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

// A recording goes on as it comes, with the model's name as its server has it.
func TestTranscriptions(t *testing.T) {
	var mu sync.Mutex // the model server may still read what was refused meanwhile
	var last sent
	kept := func(w http.ResponseWriter, r *http.Request) {
		var one sent
		keeping(&one)(w, r)
		mu.Lock()
		defer mu.Unlock()
		last = one
	}
	take := func() sent {
		mu.Lock()
		defer mu.Unlock()
		one := last
		last = sent{}
		return one
	}
	m := openAIOf(t, "whisper", kept)
	m.Upstream.Model = "openai/whisper-large-v3"
	closed := openAIOf(t, "closed", kept)
	closed.Allow = policy.Conditions{Actions: []string{"chat"}}
	f := newFixture(t, m, closed)
	f.gateway.options.MaxBody = 0
	token := f.issuer.Token("RS256")
	const path = "/v1/audio/transcriptions"

	contentType, body := recording(t, strings.NewReader(strings.Repeat("RIFF", 1<<20)), "model", "whisper", "language", "en")
	want := strings.Replace(string(body), "whisper", "openai/whisper-large-v3", 1)
	response, answer := f.do(t, "POST", path, token, contentType, string(body))
	if got := take(); response.StatusCode != 200 || got.body != want || got.header.Get("Content-Type") != contentType || got.uri != path {
		t.Fatalf("%s %s; the model server got %d bytes of %s, want %d", response.Status, answer, len(got.body), got.header.Get("Content-Type"), len(want))
	}
	if record := f.decisions(t)[0]; record["action"] != "transcriptions" || record["model"] != "whisper" || record["code"] != "allowed" {
		t.Errorf("recorded as %v", record)
	}

	_, unknown := recording(t, strings.NewReader("RIFF"), "model", "nothing")
	_, other := recording(t, strings.NewReader("RIFF"), "model", "closed")
	_, unnamed := recording(t, strings.NewReader("RIFF"), "language", "en")
	twice := append(bytes.TrimSuffix(bytes.Clone(body), []byte("--\r\n")), []byte("\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--"+boundaryOf(contentType)+"--\r\n")...)
	large, tooLarge := recording(t, io.LimitReader(zeros{}, formBody), "model", "whisper")
	for _, test := range []struct {
		name, contentType string
		body              []byte
		status            int
		code              string
	}{
		{"unknown", "", unknown, 404, "model_unknown"},
		{"not for this", "", other, 403, "action_refused"},
		{"no model before the file", "", unnamed, 400, "body_malformed"},
		{"another model behind the file, when a part has gone on", contentType, twice, 400, "body_malformed"},
		{"JSON", jsonType, []byte(`{"model":"whisper"}`), 415, "media_type_unsupported"},
		{"more than 32 MiB", large, tooLarge, 413, "body_too_large"},
	} {
		sentAs := test.contentType
		if sentAs == "" {
			first, _, _ := strings.Cut(string(test.body), "\r\n")
			sentAs = "multipart/form-data; boundary=" + strings.TrimPrefix(first, "--")
		}
		response, answer := f.do(t, "POST", path, token, sentAs, string(test.body))
		if response.StatusCode != test.status || !strings.Contains(answer, `"code":"`+test.code+`"`) || !strings.HasPrefix(answer, `{"error":{"message":`) {
			t.Errorf("%s: %s %s", test.name, response.Status, answer)
		}
		if strings.HasSuffix(take().body, "--\r\n") {
			t.Errorf("%s: the model server got the whole form", test.name)
		}
	}
	r, err := http.NewRequest("POST", f.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if response, answer := send(t, r); response.StatusCode != 401 {
		t.Errorf("nobody: %s %s", response.Status, answer)
	}
}

func boundaryOf(contentType string) string { return contentType[strings.Index(contentType, "=")+1:] }
