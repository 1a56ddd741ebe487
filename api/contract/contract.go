// Package contract tries attacks on a resource server from outside: with a
// real access token, with forgeries of it, and with malformed requests. It
// runs against any deployment, this API's or another gateway's.
package contract

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Target is the deployment and what the forgeries are made from.
type Target struct {
	URL         string // of a protected resource, such as https://api.example.com/v2/models
	Method      string // of the requests; GET if empty
	Body        string // of the requests, with ContentType
	ContentType string

	Token string             // an access token that the resource accepts
	Keys  jose.JSONWebKeySet // the issuer's published keys

	// Tokens that could be minted beside it. Cases that need an empty one are left out.
	OtherAudience string // a good access token without this resource's audience
	IDToken       string
	ClientSecret  string // of the resource server

	Timeout time.Duration // of one request; 10 s if zero
}

// Result is the outcome of one case.
type Result struct {
	Case
	Got   int    // status; 0 for a connection that was closed without an answer
	Fault string // what is wrong; empty for a pass
	Left  string // why the case was left out; empty if it ran
}

// Run makes the requests of all cases, one after the other, and returns their
// results in order. The error is for a run that proves nothing: the good token
// is not accepted.
func Run(ctx context.Context, t Target) ([]Result, error) {
	kit, err := newKit(t)
	if err != nil {
		return nil, err
	}
	defer kit.bait.Close()
	var results []Result
	for _, c := range cases {
		result := Result{Case: c}
		if result.Left = kit.missing(c.needs); result.Left == "" {
			kit.hits.Store(0)
			answer, err := kit.send(ctx, c.request(kit))
			if err != nil && ctx.Err() != nil {
				return results, fmt.Errorf("contract: %w", ctx.Err())
			}
			result.Got, result.Fault = judge(c, answer, err, kit)
		}
		results = append(results, result)
		if c.Name == baseline && result.Fault != "" {
			return results, fmt.Errorf("contract: the good access token is not accepted (status %d): nothing can be learnt from refusals", result.Got)
		}
	}
	return results, nil
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// judge returns the status and what is wrong with an answer.
func judge(c Case, a *answer, err error, kit *kit) (got int, fault string) {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return 0, "no answer in time"
	case err != nil && slices.Contains(c.Want, 0):
		return 0, ""
	case err != nil:
		return 0, "connection closed without an answer"
	}
	header, want := a.header, c.Want
	got = a.status
	switch {
	case want == nil && (got == 400 || got == 401 || got >= 500 || got >= 300 && got < 400):
		fault = "a legal request is not accepted"
	case want != nil && !slices.Contains(want, got):
		fault = "want " + wanted(want)
	case kit.hits.Load() > 0:
		fault = "the resource server fetched what the token points to"
	case want == nil:
	case got == 401 && !hasBearerChallenge(header):
		fault = "401 without a Bearer challenge (RFC 6750, section 3)"
	case got == 401 && c.noError && strings.Contains(strings.Join(header.Values("WWW-Authenticate"), ","), "error="):
		fault = "a challenge with an error, though there was no credential (RFC 6750, section 3.1)"
	case strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "text/html"):
		fault = "the refusal is HTML"
	case kit.leaks(a):
		fault = "the refusal repeats the token"
	}
	return got, fault
}

func hasBearerChallenge(h http.Header) bool {
	return slices.ContainsFunc(h.Values("WWW-Authenticate"), func(v string) bool {
		scheme, _, _ := strings.Cut(v, " ")
		return strings.EqualFold(scheme, "Bearer")
	})
}

func wanted(statuses []int) string {
	var words []string
	for _, s := range statuses {
		if s == 0 {
			words = append(words, "closed")
		} else {
			words = append(words, fmt.Sprint(s))
		}
	}
	return strings.Join(words, " or ")
}

// Print writes the results as a table and reports whether all passed.
func Print(w io.Writer, results []Result) bool {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	failed, left := 0, 0
	for _, r := range results {
		verdict, got, note := "ok", fmt.Sprint(r.Got), r.Fault
		want := wanted(r.Want)
		if r.Want == nil {
			want = "accepted"
		}
		switch {
		case r.Left != "":
			verdict, got, note = "-", "-", "left out: "+r.Left
			left++
		case r.Fault != "":
			verdict = "FAIL"
			failed++
		}
		if got == "0" {
			got = "closed"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", verdict, r.Name, r.Cites, want, got, note)
	}
	table.Flush()
	fmt.Fprintf(w, "%d cases: %d passed, %d failed, %d left out\n", len(results), len(results)-failed-left, failed, left)
	return failed == 0
}

// request is what goes over the wire, as it is: no library mends it.
type request struct {
	query   string
	headers []string // lines without the line end
	method  string   // of the target if empty
	body    string
}

// kit makes requests for one target.
type kit struct {
	Target
	url  *url.URL
	hits atomic.Int64     // requests to bait
	bait *httptest.Server // where forged tokens point to
	forgery
}

func newKit(t Target) (*kit, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("contract: %q is not the URL of a protected resource", t.URL)
	}
	if t.Method == "" {
		t.Method = http.MethodGet
	}
	if t.Timeout == 0 {
		t.Timeout = 10 * time.Second
	}
	k := &kit{Target: t, url: u}
	if k.forgery, err = newForgery(t); err != nil {
		return nil, err
	}
	// It listens on this computer only: a fetch shows where the deployment
	// runs here too.
	k.bait = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		k.hits.Add(1)
		_ = json.NewEncoder(w).Encode(k.ownKeys())
	}))
	return k, nil
}

// missing says what a case would need that the target doesn't have.
func (k *kit) missing(needs need) string {
	switch {
	case needs == needOtherAudience && k.OtherAudience == "":
		return "no token of another audience"
	case needs == needIDToken && k.IDToken == "":
		return "no ID token"
	case needs == needClientSecret && k.ClientSecret == "":
		return "no client secret"
	case needs == needEncryptionKey && k.encryption == nil:
		return "the issuer publishes no encryption key"
	}
	return ""
}

// leaks tells whether an answer repeats what makes a token usable.
func (k *kit) leaks(a *answer) bool {
	signature := k.Token[strings.LastIndexByte(k.Token, '.')+1:]
	return strings.Contains(a.body, signature) || strings.Contains(fmt.Sprint(a.header), signature)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// send makes one request on a connection of its own.
func (k *kit) send(ctx context.Context, r request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	address := k.url.Host
	if k.url.Port() == "" {
		address = net.JoinHostPort(k.url.Hostname(), map[string]string{"http": "80", "https": "443"}[k.url.Scheme])
	}
	var connection net.Conn
	var err error
	if k.url.Scheme == "https" {
		connection, err = (&tls.Dialer{Config: &tls.Config{NextProtos: []string{"http/1.1"}}}).DialContext(ctx, "tcp", address)
	} else {
		connection, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	defer connection.Close()
	deadline, _ := ctx.Deadline()
	if err := connection.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	// A server may answer before it has read everything, so a write that fails
	// is no reason not to read.
	go func() { _, _ = connection.Write(k.wire(r)) }()
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // what came of it
	return &answer{response.StatusCode, response.Header, string(body)}, nil
}

// wire renders a request in HTTP/1.1.
func (k *kit) wire(r request) []byte {
	target := *k.url
	target.RawQuery = strings.Trim(target.RawQuery+"&"+r.query, "&")
	method, body := r.method, r.body
	headers := r.headers
	if method == "" {
		method = k.Method
		if body == "" && k.Body != "" {
			body = k.Body
			headers = append(slices.Clone(headers), "Content-Type: "+k.ContentType)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAccept: application/json\r\n", method, target.RequestURI(), target.Host)
	for _, line := range headers {
		b.WriteString(line + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}
