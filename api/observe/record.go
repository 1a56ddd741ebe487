package observe

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// Record is what there is to say of one request when its answer has ended. It
// holds no credential, no query and no body.
type Record struct {
	Request       string // our id of the request
	Trace         string // id of its trace; empty where traces are not sent
	Address       string // where it came from; empty if nobody can tell
	Method, Path  string // the path cut to what a line holds
	Action, Model string // of a route; the model as somebody wrote it. Empty for none
	Allowed       bool   // by the policy, however the request went on
	Code          string // allowed, or of the refusal or failure; empty where nothing was decided
	Status        int
	Admitted      bool          // had a valid credential and the base role
	Took          time.Duration // to the last byte of the answer
	Policy        uint64        // generation of the policy that decided; 0 where none did
	Cause         error         // of a refusal or failure; may be nil

	// Who asked, as far as a valid credential says.
	Issuer, Subject, Username, Client, Session string

	// Key tells which service key a request came with, valid or not: the client id
	// that it names, if the policy lets that have one, a slash, and the first 8 hex
	// digits of the key's SHA-256. Empty for none.
	Key string

	Groups []string // of the principal, as far as the policy names them: full paths

	Usage *Usage // of a language model; nil for none

	notRecorded int // refusals with this code before it that have no record
}

// Usage is what a language model says that it used, in tokens.
type Usage struct {
	Input     int64 `json:"input"`
	Output    int64 `json:"output"`
	Cached    int64 `json:"cached"`    // of the input
	Reasoning int64 `json:"reasoning"` // of the output
	Estimated bool  `json:"estimated"` // by us, since the model server said nothing
}

// decision says what the policy said.
func (r *Record) decision() string {
	if r.Allowed {
		return "allow"
	}
	return "refuse"
}

// Form writes records as lines to a writer, one call of Write for each.
type Form func(io.Writer) func(context.Context, *Record)

// InLog is the Form of a log's lines.
func InLog(handler func(io.Writer) slog.Handler) Form {
	return func(w io.Writer) func(context.Context, *Record) {
		h := handler(w)
		return func(ctx context.Context, r *Record) {
			line := slog.NewRecord(time.Now(), slog.LevelInfo, "decision", 0) // a logger would look for who calls it
			line.AddAttrs(r.attrs()...)
			_ = h.Handle(ctx, line) // a Log never fails
		}
	}
}

// attrs are the members of a record. Those about the principal are there if
// there is one.
func (r *Record) attrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs,
		slog.String("request", r.Request), slog.String("address", r.Address),
		slog.String("method", r.Method), slog.String("path", r.Path),
		slog.String("action", r.Action), slog.String("model", r.Model), slog.String("decision", r.decision()),
		slog.String("code", r.Code), slog.Int("status", r.Status), slog.Duration("took", r.Took))
	if r.Subject != "" {
		attrs = append(attrs, slog.String("issuer", r.Issuer), slog.String("subject", r.Subject))
	}
	for _, optional := range []struct{ name, value string }{{"username", r.Username}, {"client", r.Client}, {"session", r.Session}, {"key", r.Key}} {
		if optional.value != "" {
			attrs = append(attrs, slog.String(optional.name, optional.value))
		}
	}
	if len(r.Groups) > 0 {
		attrs = append(attrs, slog.Any("groups", r.Groups))
	}
	if r.Trace != "" {
		attrs = append(attrs, slog.String("trace", r.Trace))
	}
	if r.Policy > 0 {
		attrs = append(attrs, slog.Uint64("policy", r.Policy))
	}
	if u := r.Usage; u != nil {
		attrs = append(attrs, slog.GroupAttrs("usage", slog.Int64("input", u.Input), slog.Int64("output", u.Output),
			slog.Int64("cached", u.Cached), slog.Int64("reasoning", u.Reasoning), slog.Bool("estimated", u.Estimated)))
	}
	if r.Cause != nil {
		attrs = append(attrs, slog.String("cause", r.Cause.Error()))
	}
	if r.notRecorded > 0 {
		attrs = append(attrs, slog.Int("not_recorded", r.notRecorded))
	}
	return attrs
}
