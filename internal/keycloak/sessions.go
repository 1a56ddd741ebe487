package keycloak

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// EndSessionsRoles are the roles of the client realm-management (or REALM-realm of the
// realm master) that EndSessions needs.
var EndSessionsRoles = []string{"manage-realm", "manage-users", "view-clients"}

// Ended is what EndSessions did.
type Ended struct {
	Before    time.Time // the realm's not-before
	Sessions  int       // of people who were signed in
	Offline   int       // of those, offline sessions
	Told      []string  // admin URLs that took the not-before
	Unreached []string  // admin URLs that did not
}

// EndSessions ends what began before a time: the realm's not-before refuses every
// token from before it, refresh and offline tokens included, clients with an admin URL
// are told, and the sessions end, of which Keycloak tells clients by back-channel
// logout. The zero time is now, by Keycloak's clock. The realm's not-before is never
// lowered.
func (a *Admin) EndSessions(ctx context.Context, realm string, before time.Time) (Ended, error) {
	var e Ended
	if before.IsZero() {
		now, err := a.clock(ctx)
		if err != nil {
			return e, err
		}
		before = now.Add(time.Second) // a token of this second is from before, too
		if err := sleep(ctx, time.Second); err != nil {
			return e, err
		}
	}
	path := realmPath(realm)
	// A part of the realm would reset what it leaves out, such as the life of device
	// codes. Without a mail server in it, that of the realm stays.
	var settings map[string]any
	if err := a.Do(ctx, http.MethodGet, path, nil, &settings); err != nil {
		return e, err
	}
	old, _ := settings["notBefore"].(float64)
	e.Before = time.Unix(max(int64(old), before.Unix()), 0)
	delete(settings, "smtpServer")
	settings["notBefore"] = e.Before.Unix()
	if err := a.Do(ctx, http.MethodPut, path, settings, nil); err != nil {
		return e, err
	}
	var pushed struct{ SuccessRequests, FailedRequests []string }
	if err := a.Do(ctx, http.MethodPost, path+"/push-revocation", nil, &pushed); err != nil {
		return e, err
	}
	e.Told, e.Unreached = pushed.SuccessRequests, pushed.FailedRequests
	return e, a.deleteSessions(ctx, path, &e)
}

// deleteSessions ends the sessions that began before e.Before.
func (a *Admin) deleteSessions(ctx context.Context, path string, e *Ended) error {
	var clients []struct{ ID string }
	if err := a.Do(ctx, http.MethodGet, path+"/clients", nil, &clients); err != nil {
		return err
	}
	var mu sync.Mutex
	found := map[string]bool{} // sessions by id, true for offline ones
	if err := each(ctx, clients, func(ctx context.Context, c struct{ ID string }) error {
		for _, kind := range []string{"user", "offline"} {
			var sessions []struct {
				ID    string
				Start int64 // milliseconds
			}
			if err := a.Do(ctx, http.MethodGet, path+"/clients/"+c.ID+"/"+kind+"-sessions?max=1000000", nil, &sessions); err != nil {
				return err
			}
			mu.Lock()
			for _, s := range sessions {
				if s.Start < e.Before.UnixMilli() {
					found[kind+" "+s.ID] = kind == "offline"
				}
			}
			mu.Unlock()
		}
		return nil
	}); err != nil {
		return err
	}
	var keys []string
	for key := range found {
		keys = append(keys, key)
	}
	return each(ctx, keys, func(ctx context.Context, key string) error {
		_, id, _ := strings.Cut(key, " ")
		err := a.Do(ctx, http.MethodDelete, fmt.Sprintf("%s/sessions/%s?isOffline=%t", path, url.PathEscape(id), found[key]), nil, nil)
		if err != nil && !IsStatus(err, http.StatusNotFound) { // it may have ended meanwhile
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		e.Sessions++
		if found[key] {
			e.Offline++
		}
		return nil
	})
}

// clock is Keycloak's, in whole seconds: when it issued a token that was asked for now.
func (a *Admin) clock(ctx context.Context) (time.Time, error) {
	a.Renew()
	token, err := a.Token(ctx)
	if err != nil {
		return time.Time{}, err
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, errors.New("keycloak: the admin's access token is no JWT, so Keycloak's clock is unknown")
	}
	var claims struct{ IAT int64 }
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err := errors.Join(err, json.Unmarshal(text, &claims)); err != nil || claims.IAT == 0 {
		return time.Time{}, fmt.Errorf("keycloak: the admin's access token has no time of issue: %w", err)
	}
	return time.Unix(claims.IAT, 0), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
