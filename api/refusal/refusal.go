// Package refusal is every reason for which the API says no, in one table: a
// stable code, a status, a sentence for the caller, and what an operator
// changes. The table in docs/api.md and the codes in openapi.json are made of it.
package refusal

//go:generate go run ./gen

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Code names a reason. Codes are stable: they stand in responses, logs and
// metrics.
type Code string

// Reason is one row of the table.
type Reason struct {
	Code   Code
	Status int
	// OAuth is the error attribute of the challenge: RFC 6750, section 3.1,
	// RFC 9449, section 7.1, and RFC 9470, section 3. Empty for none.
	OAuth string
	// Message is one sentence for the caller: what was expected and what to
	// do. A verb of package fmt stands for what New is given.
	Message string
	// Fix is for the operator: the setting to change. {client} stands for the
	// client that got the token, {audience} for this API's client id.
	Fix string
}

// Of returns the row of a code.
func Of(code Code) Reason {
	for i := range table {
		if table[i].Code == code {
			return table[i]
		}
	}
	panic("refusal: no row for code " + string(code)) // a test of the table finds it
}

// Fix is what an operator changes about a refusal of a token that the client
// got, for the API with this audience. The client may be empty.
func Fix(code Code, client, audience string) string {
	party := "the client"
	if client != "" {
		party = "client " + strconv.Quote(client)
	}
	return strings.NewReplacer("{client}", party, "{audience}", strconv.Quote(audience)).Replace(Of(code).Fix)
}

// All returns the table, in the order of the documentation.
func All() []Reason { return append([]Reason(nil), table...) }

// Error is a refusal of one request: what the caller is told, and apart from
// it the cause, which only the log gets.
type Error struct {
	Code    Code
	Status  int
	Message string // for the caller
	OAuth   string // error attribute of the challenge, empty for none
	ACR     string // that the person should sign in at (RFC 9470); empty for none
	MaxAge  string // seconds that the sign-in may be old, where the challenge asks for that
	DPoP    bool   // the credential came with the scheme DPoP
	Cause   error  // for the log; may be nil
}

// New makes the refusal of a code. The arguments are for the verbs of its
// message.
func New(code Code, cause error, arguments ...any) *Error {
	r := Of(code)
	if len(arguments) > 0 {
		r.Message = fmt.Sprintf(r.Message, arguments...)
	}
	return &Error{Code: code, Status: r.Status, Message: r.Message, OAuth: r.OAuth, Cause: cause}
}

// Error is for the log. It holds no token, cookie or secret.
func (e *Error) Error() string {
	if e.Cause != nil {
		return string(e.Code) + ": " + e.Cause.Error()
	}
	return string(e.Code)
}

// Unwrap returns the cause, which is not for the caller.
func (e *Error) Unwrap() error { return e.Cause }

// Problem is an Error as problem details (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   Code   `json:"code"`
}

// Problem returns what the caller is told.
func (e *Error) Problem() Problem {
	return Problem{http.StatusText(e.Status), e.Status, e.Message, e.Code}
}

// Retry says whether the same request may succeed a little later, of which
// Retry-After tells the caller.
func (e *Error) Retry() bool {
	return e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests
}
