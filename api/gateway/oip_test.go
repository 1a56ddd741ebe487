package gateway

import (
	"encoding/binary"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"keycloak-model-api/policy"
)

// What each path of a model leads to at its server, which gets path and body as they
// came.
func TestInferenceProtocolPassedOn(t *testing.T) {
	var got sent
	f := newFixture(t, upstreamOf(t, "elsewhere", keeping(&got)))
	token := f.issuer.Token("RS256")
	for _, test := range []struct{ method, path, body, action string }{
		{"GET", "/v2/models/elsewhere", "", "metadata"},
		{"GET", "/v2/models/elsewhere/versions/3", "", "metadata"},
		{"GET", "/v2/models/elsewhere/versions/3/ready", "", "ready"},
		{"POST", "/v2/models/elsewhere/versions/v1.2_a~b-c/infer", `{"inputs":[ ]}`, "infer"},
		{"POST", "/v2/models/elsewhere/generate", `{"text_input": "a\u00e9", "parameters":{"temperature":0.50}}`, "generate"},
		{"POST", "/v2/models/elsewhere/generate_stream", `{"text_input":"a"}`, "generate"},
		{"POST", "/v2/models/elsewhere/versions/3/generate", `{"text_input":"a"}`, "generate"},
		{"POST", "/v2/models/elsewhere/versions/3/generate_stream", `{"text_input":"a"}`, "generate"},
	} {
		got = sent{}
		response, body := f.do(t, test.method, test.path, token, jsonType, test.body)
		if response.StatusCode != 200 || got.uri != test.path || got.body != test.body {
			t.Errorf("%s %s: %s %s; the model server got %s %q", test.method, test.path, response.Status, body, got.uri, got.body)
		}
		records := f.decisions(t)
		if last := records[len(records)-1]; last["action"] != test.action || last["model"] != "elsewhere" {
			t.Errorf("%s: recorded as %v", test.path, last)
		}
	}
	for _, path := range []string{"/v2/models/elsewhere/versions", "/v2/models/elsewhere/versions/3/load", "/v2/models/elsewhere/load", "/v2/models/elsewhere/unload",
		"/v2/models/elsewhere/config", "/v2/models/elsewhere/trace/setting", "/v2/repository/models/elsewhere/load", "/v2/repository/models/elsewhere/unload",
		"/v2/systemsharedmemory/region/r/register", "/v2/cudasharedmemory/unregister", "/v2/logging"} {
		got = sent{}
		if response, _ := f.do(t, "POST", path, token, jsonType, "{}"); response.StatusCode != 404 || got.uri != "" {
			t.Errorf("%s: %s, the model server got %q", path, response.Status, got.uri)
		}
	}
}

// Members that steer a model server are refused in the bodies of the Open Inference
// Protocol, too, before it gets anything.
func TestInferenceProtocolSteering(t *testing.T) {
	var got sent
	m := upstreamOf(t, "lenient", keeping(&got))
	m.Body = &policy.Body{Allow: []string{"shared_memory_*", "lora_name", "image_url"}}
	f := newFixture(t, upstreamOf(t, "elsewhere", keeping(&got)), m)
	token := f.issuer.Token("RS256")
	for _, test := range []struct{ name, path, body string }{
		{"shared memory of an input (Triton)", "infer", `{"inputs":[{"name":"x","parameters":{"shared_memory_region":"r"}}]}`},
		{"of a version", "versions/1/infer", `{"inputs":[{"name":"x","parameters":{"shared_memory_region":"r"}}]}`},
		{"an adapter (vLLM in Triton)", "generate", `{"text_input":"a","lora_name":"x"}`},
		{"an adapter among the parameters", "generate_stream", `{"text_input":"a","parameters":{"lora_name":"x"}}`},
		{"an image of the inner network", "generate", `{"text_input":"a","image_url":"http://169.254.169.254"}`},
	} {
		got = sent{}
		response, body := f.do(t, "POST", "/v2/models/elsewhere/"+test.path, token, jsonType, test.body)
		checkRefusal(t, response, body, "/v2/", 400, "member_refused")
		if got.uri != "" {
			t.Errorf("%s: the model server got %s", test.name, got.body)
		}
		if response, body := f.do(t, "POST", "/v2/models/lenient/"+test.path, token, jsonType, test.body); response.StatusCode != 200 || got.body != test.body {
			t.Errorf("%s, where it is allowed: %s %s", test.name, response.Status, body)
		}
	}
	for name, text := range map[string]string{"twice": `{"text_input":"a","text_input":"b"}`, "no object": `["a"]`, "a second value": `{} {}`} {
		response, body := f.do(t, "POST", "/v2/models/elsewhere/generate", token, jsonType, text)
		checkRefusal(t, response, body, "/v2/"+name, 400, "body_malformed")
	}
	response, body := f.do(t, "POST", inferIris, token, jsonType, strings.Replace(irisRow, `"shape"`, `"parameters":{"shared_memory_region":"r"},"shape"`, 1))
	checkRefusal(t, response, body, "/v2/", 400, "member_refused")
}

// A member that comes late, when a part of the body is at the model server, breaks
// the request there: it never has a whole one.
func TestSteeringFoundLate(t *testing.T) {
	whole := make(chan error, 1)
	f := newFixture(t, upstreamOf(t, "elsewhere", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		whole <- err
	}))
	f.gateway.options.MaxBody = 0
	body := `{"data":[` + strings.Repeat("1,", heldBody) + `1],"parameters":{"shared_memory_region":"r"}}`
	response, answer := f.do(t, "POST", "/v2/models/elsewhere/infer", f.issuer.Token("RS256"), jsonType, body)
	checkRefusal(t, response, answer, "/v2/", 400, "member_refused")
	if err := <-whole; err == nil {
		t.Error("the model server got a whole body")
	}
}

// The index lists what the other list does: the models that the caller may call.
func TestRepositoryIndex(t *testing.T) {
	f := newFixture(t, upstreamOf(t, "elsewhere", nil), openAIOf(t, "talks", nil))
	token := f.issuer.Token("RS256")
	const want = `[{"name":"iris","version":"1","state":"READY","reason":""},{"name":"elsewhere","state":"UNKNOWN","reason":""}]` + "\n"
	for _, asks := range []string{"", "{}", `{"ready":true}`, `{"ready":null}`} {
		if response, body := f.do(t, "POST", "/v2/repository/index", token, jsonType, asks); response.StatusCode != 200 || body != want {
			t.Errorf("%q: %s %s", asks, response.Status, body)
		}
	}
	if response, _ := f.do(t, "GET", "/v2/repository/index", token, "", ""); response.StatusCode != 405 {
		t.Errorf("GET: %s", response.Status)
	}
}

// The binary tensor data extension, as tritonclient sends it: without a media type.
func TestBinaryTensors(t *testing.T) {
	var got sent
	f := newFixture(t, upstreamOf(t, "elsewhere", func(w http.ResponseWriter, r *http.Request) {
		keeping(&got)(w, r)
	}))
	var row []byte
	for _, v := range []float64{5.1, 3.5, 1.4, 0.2} {
		row = binary.LittleEndian.AppendUint64(row, math.Float64bits(v))
	}
	text := `{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","parameters":{"binary_data_size":32}}],"parameters":{"binary_data_output":true}}`
	ask := func(path, length string) (*http.Response, string) {
		r, err := http.NewRequest("POST", f.url+path, strings.NewReader(text+string(row)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + f.issuer.Token("RS256")}, "Inference-Header-Content-Length": {length}}
		return send(t, r)
	}
	length := strconv.Itoa(len(text))
	for _, path := range []string{inferIris, "/v2/models/iris/versions/1/infer"} {
		response, body := ask(path, length)
		n, _ := strconv.Atoi(response.Header.Get("Inference-Header-Content-Length"))
		if response.StatusCode != 200 || n == 0 || response.Header.Get("Content-Type") != "application/octet-stream" {
			t.Fatalf("%s: %s %v %q", path, response.Status, response.Header, body)
		}
		const want = `{"model_name":"iris","outputs":[{"name":"label","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":10}},` +
			`{"name":"probabilities","shape":[1,3],"datatype":"FP64","parameters":{"binary_data_size":24}}]}`
		if body[:n] != want || !strings.HasPrefix(body[n:], "\x06\x00\x00\x00setosa") || len(body) != n+34 {
			t.Errorf("got %q", body)
		}
	}
	for _, bad := range []string{"", "-1", strconv.Itoa(len(text) + 33)} {
		response, body := ask(inferIris, bad)
		checkRefusal(t, response, body, inferIris, 400, "body_malformed")
	}
	response, body := ask(inferIris, strconv.Itoa(len(text)-1))
	checkRefusal(t, response, body, inferIris, 400, "bad_tensor")

	if response, _ := ask("/v2/models/elsewhere/infer", length); response.StatusCode != 200 || got.body != text+string(row) || got.header.Get("Inference-Header-Content-Length") != length {
		t.Errorf("%s: the model server got %q", response.Status, got.body)
	}
}

// A stream of generate_stream that breaks off ends with the event that tells of it.
func TestGenerateStreamBreaksOff(t *testing.T) {
	f := newFixture(t, upstreamOf(t, "elsewhere", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"text_output\":\"a\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	r, err := http.NewRequest("POST", f.url+"/v2/models/elsewhere/generate_stream", strings.NewReader(`{"text_input":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer " + f.issuer.Token("RS256")}, "Content-Type": {jsonType}}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil || !strings.HasPrefix(string(body), "data: {\"text_output\":\"a\"}\n\ndata: {\"error\":\"") || !strings.Contains(string(body), `"code":"upstream_unreachable"}`+"\n\n") {
		t.Errorf("got %q, %v", body, err)
	}
}
