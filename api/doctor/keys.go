package doctor

import (
	"context"
	"strings"
)

// fallbackKeys looks for key providers that Keycloak has made itself, while it had no
// active key of an algorithm that a client asked for. No up sees them, and their keys
// stay published. Published keys don't tell whose they are, so only an account of the
// Admin REST API can see that.
func (d *doctor) fallbackKeys(ctx context.Context) {
	const check = "key providers"
	if d.admin == nil {
		return
	}
	var providers []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	if err := d.adminGet(ctx, "/components?type=org.keycloak.keys.KeyProvider", &providers); err != nil {
		d.warn(check, "The account of the environment needs view-realm of this realm: docs/doctor.md.", "%v", err)
		return
	}
	found := false
	for _, p := range providers {
		if strings.HasPrefix(p.Name, "fallback-") {
			found = true
			d.fail(check, "When the last token that it signed has expired: kcadm.sh delete components/"+p.ID+" -r "+d.stack.RealmName,
				"Keycloak made %s itself while it had no active key of that algorithm; no up sees it, and its key stays published", p.Name)
		}
	}
	if !found {
		d.ok(check, "none that Keycloak made itself")
	}
}
