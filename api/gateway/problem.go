package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
)

// problem is a refusal: what the caller is told, and apart from it the cause,
// which only the log gets.
type problem struct {
	status int
	code   string // stable, for programs
	detail string // a sentence for people: what was expected and what to do
	cause  error
}

// refuse answers r with p and notes it in the audit record. The shape follows
// the path: the Open Inference Protocol's {"error": …} under /v2, problem+json
// (RFC 9457) elsewhere. Both have the code beside it.
func refuse(w http.ResponseWriter, r *http.Request, p problem) {
	record := recordOf(r)
	record.code, record.cause = p.code, p.cause

	body := any(struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}{p.detail, p.code})
	contentType := "application/json"
	if path := r.URL.Path; path != "/v2" && !strings.HasPrefix(path, "/v2/") {
		body = struct {
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
			Code   string `json:"code"`
		}{http.StatusText(p.status), p.status, p.detail, p.code}
		contentType = "application/problem+json"
	}
	if p.status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "5") // seconds
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(p.status)
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
