package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"

	"keycloak-model-api/api/refusal"
)

// refuse answers r with e and notes it in the audit record. The shape is
// that of the protocol that owns the path, otherwise problem+json (RFC 9457). A
// refusal has its challenge, whoever finds the reason.
func refuse(w http.ResponseWriter, r *http.Request, e *refusal.Error) {
	record := recordOf(r)
	record.code, record.cause = e.Code, e.Cause

	contentType, body := "application/problem+json", any(e.Problem())
	if record.protocol != nil {
		contentType, body = record.protocol.Refusal(e)
	}
	if e.Status == http.StatusUnauthorized || e.OAuth != "" || e.Retry() && w.Header().Get("Retry-After") == "" {
		record.challenge(w, e)
	}
	if record.asked {
		w.Header().Set(HeaderAuthorizeStatus, strconv.Itoa(e.Status))
		w.Header().Set(HeaderAuthorizeCode, string(e.Code))
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
