package gateway

import (
	"encoding/json"
	"net/http"
	"strings"

	"keycloak-model-api/api/refusal"
)

// refuse answers r with e and notes it in the audit record. The shape follows
// the path: the Open Inference Protocol's {"error": …} under /v2, problem+json
// (RFC 9457) elsewhere. Both have the code beside it.
func refuse(w http.ResponseWriter, r *http.Request, e *refusal.Error) {
	record := recordOf(r)
	record.code, record.cause = e.Code, e.Cause

	body := any(struct {
		Error string       `json:"error"`
		Code  refusal.Code `json:"code"`
	}{e.Message, e.Code})
	contentType := "application/json"
	if path := r.URL.Path; path != "/v2" && !strings.HasPrefix(path, "/v2/") {
		body = struct {
			Title  string       `json:"title"`
			Status int          `json:"status"`
			Detail string       `json:"detail"`
			Code   refusal.Code `json:"code"`
		}{http.StatusText(e.Status), e.Status, e.Message, e.Code}
		contentType = "application/problem+json"
	}
	if e.Retry() && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "5") // seconds
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(e.Status)
	writeJSON(w, body)
}

// answer writes v as JSON with status 200.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, v)
}

// writeJSON writes v for people, too: < stays <, since no answer here is a page.
func writeJSON(w http.ResponseWriter, v any) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// An error here means that the caller is gone: there is nobody to tell.
	_ = encoder.Encode(v)
}
