package keycloak

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeKeycloak hands out the tokens t1, t2, … that live for lifetime seconds
// and records what it was asked.
type fakeKeycloak struct {
	*httptest.Server
	logins   []url.Values
	requests []string // method, path with query, token, body
}

func newFakeKeycloak(t *testing.T, lifetime int, status int, answer string) *fakeKeycloak {
	t.Helper()
	f := new(fakeKeycloak)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /base/realms/{realm}/protocol/openid-connect/token", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		r.PostForm.Set("realm", r.PathValue("realm"))
		f.logins = append(f.logins, r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":%d}`, len(f.logins), lifetime)
	})
	mux.HandleFunc("/base/admin/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.requests = append(f.requests, r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization")+" "+string(body))
		w.Header().Set("Location", f.URL+"/base/admin/realms/r/clients/the-id")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func TestAdminLogsIn(t *testing.T) {
	tests := []struct {
		name string
		Credentials
		want url.Values
	}{
		{"service account", Credentials{ClientID: "c", ClientSecret: "s"},
			url.Values{"realm": {"master"}, "grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {"s"}}},
		{"user", Credentials{Username: "u", Password: "p"},
			url.Values{"realm": {"master"}, "grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"u"}, "password": {"p"}}},
		{"user of another realm and client", Credentials{Realm: "ops", ClientID: "c", ClientSecret: "s", Username: "u", Password: "p"},
			url.Values{"realm": {"ops"}, "grant_type": {"password"}, "client_id": {"c"}, "client_secret": {"s"}, "username": {"u"}, "password": {"p"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeKeycloak(t, 60, 200, "{}")
			a := NewAdmin(f.URL+"/base/", tt.Credentials)
			for range 2 {
				if _, err := a.Realm(t.Context(), "r"); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]url.Values{tt.want}, f.logins); diff != "" {
				t.Errorf("logins (-want +got):\n%s", diff)
			}
			want := []string{"GET /base/admin/realms/r Bearer t1 ", "GET /base/admin/realms/r Bearer t1 "}
			if diff := cmp.Diff(want, f.requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAdminRenewsItsToken(t *testing.T) {
	t.Run("before it expires", func(t *testing.T) {
		f := newFakeKeycloak(t, 9, 200, "{}") // within the margin of ten seconds
		a := NewAdmin(f.URL+"/base", Credentials{ClientID: "c"})
		for range 3 {
			if _, err := a.Realm(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
		}
		if len(f.logins) != 3 {
			t.Errorf("%d logins, want 3", len(f.logins))
		}
	})
	t.Run("for a realm that it knows nothing of", func(t *testing.T) {
		f := newFakeKeycloak(t, 60, 201, "")
		a := NewAdmin(f.URL+"/base", Credentials{ClientID: "c"})
		if err := a.CreateRealm(t.Context(), map[string]any{"realm": "r"}); err != nil {
			t.Fatal(err)
		}
		if err := a.DeleteRealm(t.Context(), "r"); err != nil {
			t.Fatal(err)
		}
		want := []string{`POST /base/admin/realms Bearer t1 {"realm":"r"}`, "DELETE /base/admin/realms/r Bearer t2 "}
		if diff := cmp.Diff(want, f.requests); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestAdminRequests(t *testing.T) {
	f := newFakeKeycloak(t, 60, 200, `{"a":1}`)
	a := NewAdmin(f.URL+"/base", Credentials{ClientID: "c"})
	id, err := a.Create(t.Context(), "/realms/r/clients", map[string]any{"clientId": "x"})
	if err != nil || id != "the-id" {
		t.Errorf("created %q, %v", id, err)
	}
	export, err := a.PartialExport(t.Context(), "a b/c")
	if err != nil || string(export) != `{"a":1}` {
		t.Errorf("exported %s, %v", export, err)
	}
	if err := a.PartialImport(t.Context(), "r", json.RawMessage(`{"users":[]}`)); err != nil {
		t.Error(err)
	}
	want := []string{
		`POST /base/admin/realms/r/clients Bearer t1 {"clientId":"x"}`,
		"POST /base/admin/realms/a%20b%2Fc/partial-export?exportClients=true&exportGroupsAndRoles=true Bearer t1 ",
		`POST /base/admin/realms/r/partialImport Bearer t1 {"users":[]}`,
	}
	if diff := cmp.Diff(want, f.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestStatusError(t *testing.T) {
	tests := []struct {
		name, answer string
		status       int
		want         string
	}{
		{"Keycloak's message", `{"errorMessage":"Realm r already exists"}`, 409, "keycloak: GET /realms/r: 409 Conflict: Realm r already exists"},
		{"OAuth's", `{"error":"invalid_request","error_description":"Invalid token"}`, 401, "keycloak: GET /realms/r: 401 Unauthorized: Invalid token"},
		{"a short one", `{"error":"Realm not found."}`, 404, "keycloak: GET /realms/r: 404 Not Found: Realm not found."},
		{"a proxy's page", "<html>", 502, "keycloak: GET /realms/r: 502 Bad Gateway"},
		{"no redirect is followed, which would carry the token away", "", 302, "keycloak: GET /realms/r: 302 Found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeKeycloak(t, 60, tt.status, tt.answer)
			_, err := NewAdmin(f.URL+"/base", Credentials{ClientID: "c"}).Realm(t.Context(), "r")
			if err == nil || err.Error() != tt.want || !IsStatus(err, tt.status) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if len(f.requests) != 1 {
				t.Errorf("%d requests", len(f.requests))
			}
		})
	}
}

func TestAdminErrorHasNoSecret(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := NewAdmin(srv.URL, Credentials{ClientID: "c", ClientSecret: "hush"}).Realm(t.Context(), "r")
	wantError(t, err, "keycloak: log in to "+srv.URL)
	if err != nil && strings.Contains(err.Error(), "hush") {
		t.Errorf("the secret is in %v", err)
	}
}
