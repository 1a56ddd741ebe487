package render

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
)

// Run runs a Pulumi program against the local monitor in the place of the
// Keycloak provider: it fills in p.Create and p.Invoke. Every fault of every
// resource is reported at once, p.Check's included.
func Run(ctx context.Context, p monitor.Program) (*monitor.Result, error) {
	var k provider
	p.Create = func(r *monitor.Resource) error {
		// One Keycloak may have several realms from stacks of one name.
		if realm := r.Inputs["realmId"]; realm.IsString() {
			r.ID = stableID(realm.StringValue(), r.URN)
		}
		return k.create(r)
	}
	p.Invoke = k.invoke
	return monitor.Run(ctx, p)
}

// provider answers as the Keycloak provider would.
type provider struct {
	paths sync.Map // of groups, by id
}

// stableID makes an id that is the same in every run.
func stableID(parts ...string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("keycloak:"+strings.Join(parts, "/"))).String()
}

// Ids of what every realm has. Programs get them from look-ups.
func builtinClientID(realm, client string) string { return stableID(realm, "clients", client) }
func builtinRoleID(realm, client, role string) string {
	return stableID(realm, "roles", client, role)
}

// setOutput sets what the program reads of a resource beside its inputs.
type setOutput func(key, value string)

// create sets a resource's id and outputs. It refuses what the provider or Keycloak
// would refuse and is cheap to see.
func (k *provider) create(r *monitor.Resource) error {
	in := newInputs(r, func(string) {})
	kind := kinds[r.Type]
	if kind.id != "" {
		r.ID = os.Expand(kind.id, in.str)
	}
	set := func(key, value string) {
		r.Outputs[resource.PropertyKey(key)] = resource.NewStringProperty(value)
	}
	if kind.create != nil {
		kind.create(k, in, set)
	}
	if kind.id == "" && !strings.HasPrefix(r.Type, "keycloak:authentication/") {
		set("name", in.name())
	}
	return errors.Join(in.errs...)
}

func (k *provider) realm(in *inputs, set setOutput) { set("internalId", in.res.ID) }

func (k *provider) group(in *inputs, set setOutput) {
	path := "/" + in.name()
	if parent, ok := k.paths.Load(in.str("parentId")); ok {
		path = parent.(string) + path
	}
	k.paths.Store(in.res.ID, path)
	set("path", path)
}

func (k *provider) user(in *inputs, _ setOutput) {
	switch name := in.str("username"); {
	case name != strings.ToLower(name):
		in.fail("username %q must be lower case", name)
	case len(name) < 3:
		in.fail("username %q must have 3 characters or more", name)
	}
}

func (k *provider) rsaKeystore(in *inputs, _ setOutput) {
	if size := in.number("keySize", 2048); !slices.Contains([]int{1024, 2048, 4096}, size) {
		in.fail("keySize is %d: use 1024, 2048 or 4096", size)
	}
}

func (k *provider) roleMapper(in *inputs, _ setOutput) {
	owner := "client/" + in.str("clientId")
	if scope := in.str("clientScopeId"); scope != "" {
		owner = "client-scope/" + scope
	}
	in.res.ID = in.str("realmId") + "/" + owner + "/scope-mappings//" + in.str("roleId")
}

func (k *provider) serviceAccountRole(in *inputs, _ setOutput) {
	in.res.ID = in.str("serviceAccountUserId") + "/" + stableID(in.str("realmId"), in.str("clientId"), in.str("role"))
}

func (k *provider) googleIdentityProvider(in *inputs, set setOutput) {
	set("alias", "google")
	set("internalId", stableID(in.str("realm"), "google"))
}

func (k *provider) identityProvider(in *inputs, set setOutput) {
	set("internalId", stableID(in.str("realm"), in.res.ID))
}

func (k *provider) client(in *inputs, set setOutput) {
	flows := in.boolean("standardFlowEnabled", false) || in.boolean("implicitFlowEnabled", false)
	uris := in.strs("validRedirectUris")
	switch accessType := in.str("accessType"); {
	case !slices.Contains([]string{"CONFIDENTIAL", "PUBLIC", "BEARER-ONLY"}, accessType):
		in.fail("accessType is %q: use CONFIDENTIAL, PUBLIC or BEARER-ONLY", accessType)
	case accessType != "CONFIDENTIAL" && in.boolean("serviceAccountsEnabled", false):
		in.fail("a service account needs accessType CONFIDENTIAL")
	case flows && len(uris) == 0:
		in.fail("the standard flow needs a redirect URI: set validRedirectUris")
	case !flows && len(uris) > 0:
		in.fail("validRedirectUris need the standard flow: set standardFlowEnabled, or leave them out")
	}
	user := ""
	if in.boolean("serviceAccountsEnabled", false) {
		user = stableID(in.res.ID, "service-account")
	}
	set("serviceAccountUserId", user)
	set("resourceServerId", "")
	if r := in.res; r.ImportID == "" && in.str("clientSecret") == "" && in.str("accessType") == "CONFIDENTIAL" {
		secret := resource.MakeSecret(resource.NewStringProperty(rand.Text()))
		r.Inputs = r.Inputs.Copy()
		r.Inputs["clientSecret"], r.Outputs["clientSecret"] = secret, secret
	}
}

// invoke answers look-ups from what is registered and from what every realm
// has.
func (k *provider) invoke(token string, args resource.PropertyMap, registered []*monitor.Resource) (resource.PropertyMap, error) {
	in := newInputs(&monitor.Resource{Type: token, Inputs: args}, func(string) {})
	realm := in.str("realmId")
	find := func(typ string, match func(resource.PropertyMap) bool) (resource.PropertyMap, bool) {
		for _, r := range registered {
			if r.Type == typ && match(r.Outputs) {
				found := r.Outputs.Copy()
				found["id"] = resource.NewStringProperty(r.ID)
				return found, true
			}
		}
		return nil, false
	}
	is := func(m resource.PropertyMap, key, value string) bool {
		v := m[resource.PropertyKey(key)]
		return v.IsString() && v.StringValue() == value || value == "" && !v.IsString()
	}
	base, err := baseFor(realm)
	if err != nil {
		return nil, err
	}
	switch token {
	case "keycloak:index/getRealm:getRealm":
		name := in.str("realm")
		if found, ok := find("keycloak:index/realm:Realm", func(m resource.PropertyMap) bool { return is(m, "realm", name) }); ok {
			return found, nil
		}
		return nil, fmt.Errorf("the program registers no realm %q before it looks it up", name)
	case "keycloak:openid/getClient:getClient":
		clientID := in.str("clientId")
		found, ok := find("keycloak:openid/client:Client", func(m resource.PropertyMap) bool {
			return is(m, "realmId", realm) && is(m, "clientId", clientID)
		})
		if ok {
			return found, nil
		}
		if base.client(clientID) != nil {
			return resource.NewPropertyMapFromMap(object{"id": builtinClientID(realm, clientID), "clientId": clientID,
				"realmId": realm}), nil
		}
		return nil, fmt.Errorf("realm %q has no built-in client %q, and the program registers none before it looks it up", realm, clientID)
	case "keycloak:index/getRole:getRole":
		name, client := in.str("name"), in.str("clientId")
		found, ok := find("keycloak:index/role:Role", func(m resource.PropertyMap) bool {
			return is(m, "realmId", realm) && is(m, "name", name) && is(m, "clientId", client)
		})
		if ok {
			return found, nil
		}
		for _, role := range base.roles(realm) {
			if role.Name == name && (client == "" && role.Client == "" || client != "" && builtinClientID(realm, role.Client) == client) {
				return resource.NewPropertyMapFromMap(object{"id": role.ID, "name": name, "realmId": realm, "clientId": client}), nil
			}
		}
		return nil, fmt.Errorf("realm %q has no built-in role %q, and the program registers none before it looks it up", realm, name)
	}
	return nil, fmt.Errorf("the local way can't answer this function: it needs a Keycloak that runs")
}
