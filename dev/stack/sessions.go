package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"keycloak-model-api/internal/keycloak"
)

// endSessions ends the sessions of the stack's realm that began before p.before.
func (p *program) endSessions(ctx context.Context) error {
	var before time.Time
	if p.before != "NOW" {
		var err error
		if before, err = time.Parse(time.RFC3339, p.before); err != nil {
			return fmt.Errorf("stack: -before: %q is neither NOW nor a time such as 2027-01-31T08:00:00Z", p.before)
		}
	}
	c, err := p.config()
	if err != nil {
		return err
	}
	live, err := p.liveURL(c)
	if err != nil {
		return err
	}
	realm := c.Values[c.Project+":realm"]
	if realm == "" {
		return errors.New("stack: end-sessions: the stack does not say which realm: set its key realm")
	}
	ended, err := p.admin(live).EndSessions(ctx, realm, before)
	if keycloak.IsStatus(err, http.StatusForbidden) {
		return fmt.Errorf("%w\nend-sessions needs the roles %s of client realm-management in realm %s, or of client %[3]s-realm in "+
			"realm master",
			err, strings.Join(keycloak.EndSessionsRoles, ", "), realm)
	} else if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Realm %s refuses every token from before %s.\nSessions ended: %d, of which offline: %d.\n",
		realm, ended.Before.UTC().Format(time.RFC3339), ended.Sessions, ended.Offline)
	if len(ended.Told) > 0 {
		fmt.Fprintf(p.stdout, "Told %s.\n", strings.Join(ended.Told, ", "))
	}
	if len(ended.Unreached) > 0 {
		fmt.Fprintf(p.stdout, "Not reached: %s. docs/revocation.md says when these learn of it.\n", strings.Join(ended.Unreached, ", "))
	}
	return nil
}
