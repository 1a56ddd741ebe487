package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"
)

// ocsfSchema has the attributes of the objects that we use, as ocsf/ocsf-schema
// lists them for API Activity and its profile security_control. A * stands
// before those that are required.
var ocsfSchema = map[string][]string{
	"": {
		"*activity_id", "activity_name", "*category_uid", "*class_uid", "*type_uid", "*severity_id", "*time", "duration",
		"status_id", "status_code", "status_detail", "action_id", "disposition_id", "*actor", "*api", "resources",
		"*src_endpoint", "http_request", "http_response", "*metadata", "unmapped",
	},
	"actor":         {"user", "session", "app_uid", "app_name"},
	"actor.user":    {"name", "uid", "domain"},
	"actor.session": {"uid", "issuer"},
	"api":           {"*operation", "service", "request", "response"},
	"api.service":   {"name"},
	"api.request":   {"*uid"},
	"api.response":  {"code", "error"},
	"src_endpoint":  {"ip", "name"},
	"http_request":  {"uid", "http_method", "url"},
	"http_request.url": {
		"path",
	},
	"http_response":    {"*code", "latency"},
	"metadata":         {"*version", "uid", "correlation_uid", "log_name", "*product", "profiles"},
	"metadata.product": {"name", "vendor_name", "version"},
}

// Events have what the class demands and nothing that it does not know.
func TestOCSF(t *testing.T) {
	now := func() time.Time { return time.UnixMilli(1_764_090_000_123) }
	for _, test := range []struct {
		name   string
		record Record
		want   map[string]any // of the event's own members
	}{
		{"allowed", Record{
			Request: "R1", Address: "203.0.113.7", Method: "POST", Path: "/v2/models/iris/infer", Action: "infer", Model: "iris",
			Allowed: true, Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Code: "allowed", Status: 200, Admitted: true, Took: 1500 * time.Millisecond, Policy: 3,
			Issuer: "https://id.example", Subject: "6b7f", Username: "ada", Client: "portal", Session: "s1",
		}, map[string]any{
			"class_uid": 6003.0, "category_uid": 6.0, "activity_id": 99.0, "activity_name": "infer", "type_uid": 600399.0,
			"severity_id": 1.0, "status_id": 1.0, "action_id": 1.0, "disposition_id": 1.0,
			"time": 1764090000123.0, "duration": 1500.0, "status_code": "allowed",
		}},
		{"read", Record{Method: "GET", Action: "metadata", Allowed: true, Code: "allowed", Status: 200, Subject: "6b7f"},
			map[string]any{"activity_id": 2.0, "type_uid": 600302.0}},
		{"refused without a credential and an address", Record{
			Request: "R2", Method: "POST", Path: "/v2", Code: "no_credential", Status: 401, Cause: errors.New("none"), notRecorded: 7,
		}, map[string]any{
			"severity_id": 2.0, "status_id": 2.0, "action_id": 2.0, "disposition_id": 2.0, "status_code": "no_credential", "status_detail": "none",
			"activity_name": "POST",
		}},
		{"allowed, and the model server failed", Record{Method: "POST", Action: "infer", Allowed: true, Code: "upstream_timeout", Status: 504},
			map[string]any{"status_id": 2.0, "action_id": 1.0, "disposition_id": 1.0}},
		{"allowed, and the model server answered 500", Record{Method: "POST", Action: "infer", Allowed: true, Code: "allowed", Status: 500},
			map[string]any{"status_id": 2.0, "action_id": 1.0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var line bytes.Buffer
			OCSF(now)(&line)(t.Context(), &test.record)
			if n := bytes.Count(line.Bytes(), []byte("\n")); n != 1 || !bytes.HasSuffix(line.Bytes(), []byte("\n")) {
				t.Errorf("%d line breaks in %q", n, line.String())
			}
			var event map[string]any
			if err := json.Unmarshal(line.Bytes(), &event); err != nil {
				t.Fatal(err)
			}
			checkOCSF(t, "", event)
			for name, want := range test.want {
				if event[name] != want {
					t.Errorf("%s is %v, want %v", name, event[name], want)
				}
			}
		})
	}
}

func checkOCSF(t *testing.T, path string, object map[string]any) {
	t.Helper()
	schema := ocsfSchema[path]
	for _, attribute := range schema {
		if name, required := attribute[1:], attribute[0] == '*'; required && object[name] == nil {
			t.Errorf("%s: no %s", path, name)
		}
	}
	if len(object) == 0 {
		t.Errorf("%s is empty", path)
	}
	for name, value := range object {
		if !slices.Contains(schema, name) && !slices.Contains(schema, "*"+name) {
			t.Errorf("%s: %s is not in the schema", path, name)
		}
		inner, ok := value.(map[string]any)
		if !ok || name == "unmapped" {
			continue
		}
		if path != "" {
			name = path + "." + name
		}
		checkOCSF(t, name, inner)
	}
}
