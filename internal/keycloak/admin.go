package keycloak

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Credentials of an account that may use the Admin REST API: a client and its
// secret, or a user and its password.
type Credentials struct {
	// Realm of the account; empty for master.
	Realm string
	// ClientID of the service account. For a user it is the public client to
	// log in by, and empty for admin-cli.
	ClientID string
	// ClientSecret of the service account, or of the user's client.
	ClientSecret string
	// Username and Password of a user. They win over the service account.
	Username, Password string
}

// Admin is a client of the Admin REST API of one Keycloak. It may be used by
// several goroutines at once.
type Admin struct {
	baseURL     string
	credentials Credentials
	http        *http.Client

	mu    sync.Mutex
	token *oauth2.Token // nil before the login
}

// NewAdmin returns a client for the Keycloak at baseURL, base path included.
// It logs in with the first request, and again before its token expires: an
// admin's lives for 60 seconds.
func NewAdmin(baseURL string, c Credentials) *Admin {
	return &Admin{
		baseURL:     strings.TrimSuffix(baseURL, "/"),
		credentials: c,
		http: &http.Client{
			Timeout: 5 * time.Minute, // a realm with thousands of users takes its time
			// The API redirects nowhere, and the token is for it alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Renew forgets the access token, so that the next request gets one with the
// rights that the account has now. A token knows nothing of a realm that was
// made after it.
func (a *Admin) Renew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = nil
}

func (a *Admin) login(ctx context.Context) (*oauth2.Token, error) {
	c := a.credentials
	ctx = context.WithValue(ctx, oauth2.HTTPClient, a.http)
	tokenURL := a.baseURL + "/realms/" + url.PathEscape(cmp.Or(c.Realm, "master")) + "/protocol/openid-connect/token"
	if c.Username != "" {
		config := oauth2.Config{
			ClientID:     cmp.Or(c.ClientID, "admin-cli"),
			ClientSecret: c.ClientSecret,
			Endpoint:     oauth2.Endpoint{TokenURL: tokenURL, AuthStyle: oauth2.AuthStyleInParams},
		}
		return config.PasswordCredentialsToken(ctx, c.Username, c.Password)
	}
	config := clientcredentials.Config{
		ClientID:     c.ClientID,
		ClientSecret: c.ClientSecret,
		TokenURL:     tokenURL,
		AuthStyle:    oauth2.AuthStyleInParams,
	}
	return config.Token(ctx)
}

// Token returns an access token for the Admin REST API. Refused credentials
// are an *oauth2.RetrieveError.
func (a *Admin) Token(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.token.Valid() { // ten seconds before it expires
		t, err := a.login(ctx)
		if err != nil {
			return "", fmt.Errorf("keycloak: log in to %s: %w", a.baseURL, err)
		}
		a.token = t
	}
	return a.token.AccessToken, nil
}

// StatusError is an answer of the Admin REST API other than 2xx.
type StatusError struct {
	Method, Path string
	Status       int
	// Message is Keycloak's own, "" if it gave none.
	Message string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("keycloak: %s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// IsStatus tells whether err is an answer with that status.
func IsStatus(err error, status int) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Status == status
}

// Do sends one request. path begins below /admin, as /realms/example-realm, and
// may have a query; in is sent as JSON if it isn't nil; the answer is decoded
// into out if that isn't nil. An answer other than 2xx is a *StatusError.
func (a *Admin) Do(ctx context.Context, method, path string, in, out any) error {
	_, err := a.do(ctx, method, path, in, out)
	return err
}

// Create is Do with POST for what Keycloak gives an id, and returns that.
func (a *Admin) Create(ctx context.Context, path string, in any) (id string, err error) {
	header, err := a.do(ctx, http.MethodPost, path, in, nil)
	if err != nil {
		return "", err
	}
	location := header.Get("Location")
	id = location[strings.LastIndexByte(location, '/')+1:]
	if id == "" {
		return "", fmt.Errorf("keycloak: POST %s: the answer has no Location", path)
	}
	return id, nil
}

func (a *Admin) do(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	fail := func(err error) (http.Header, error) {
		return nil, fmt.Errorf("keycloak: %s %s: %w", method, path, err)
	}
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fail(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.baseURL+"/admin"+path, body)
	if err != nil {
		return fail(err)
	}
	token, err := a.Token(ctx)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, &StatusError{Method: method, Path: path, Status: resp.StatusCode, Message: message(resp.Body)}
	}
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return fail(err)
		}
	}
	return resp.Header, nil
}

// message takes Keycloak's message from the body of an error. It has several
// names there.
func message(body io.Reader) string {
	var m struct {
		ErrorMessage     string `json:"errorMessage"`
		ErrorDescription string `json:"error_description"`
		Error            string `json:"error"`
	}
	if json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&m) != nil {
		return ""
	}
	return cmp.Or(m.ErrorMessage, m.ErrorDescription, m.Error)
}

// Realm returns the representation of a realm, without its clients, roles and
// users. A realm that isn't there is a *StatusError with 404.
func (a *Admin) Realm(ctx context.Context, realm string) (json.RawMessage, error) {
	var out json.RawMessage
	err := a.Do(ctx, http.MethodGet, realmPath(realm), nil, &out)
	return out, err
}

// CreateRealm makes a realm with all that the representation has, and gets a
// token that may manage it.
func (a *Admin) CreateRealm(ctx context.Context, representation any) error {
	if err := a.Do(ctx, http.MethodPost, "/realms", representation, nil); err != nil {
		return err
	}
	a.Renew()
	return nil
}

// DeleteRealm removes a realm with all that it has.
func (a *Admin) DeleteRealm(ctx context.Context, realm string) error {
	return a.Do(ctx, http.MethodDelete, realmPath(realm), nil, nil)
}

// PartialImport adds the users, clients, groups and roles of the representation
// to a realm. Its ifResourceExists says what becomes of those that are there:
// FAIL, SKIP or OVERWRITE.
func (a *Admin) PartialImport(ctx context.Context, realm string, representation any) error {
	return a.Do(ctx, http.MethodPost, realmPath(realm)+"/partialImport", representation, nil)
}

// PartialExport returns a realm with its clients, groups and roles, without its
// users, and with secrets masked.
func (a *Admin) PartialExport(ctx context.Context, realm string) (json.RawMessage, error) {
	var out json.RawMessage
	err := a.Do(ctx, http.MethodPost, realmPath(realm)+"/partial-export?exportClients=true&exportGroupsAndRoles=true", nil, &out)
	return out, err
}

func realmPath(realm string) string { return "/realms/" + url.PathEscape(realm) }
