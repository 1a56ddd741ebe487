package realm

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// curves are the elliptic curves of RFC 7518, section 3.4.
var curves = map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

// signingAlgorithm is the algorithm of the key that is to sign, which the realm
// must name or Keycloak keeps to RS256. It is empty without a key of our own.
func signingAlgorithm(keys []config.SigningKey) string {
	algorithm, priority := "", 0
	for _, k := range keys {
		if or(k.Active, true) && or(k.Enabled, true) && (algorithm == "" || k.Priority > priority) {
			algorithm, priority = k.Algorithm, k.Priority
		}
	}
	return algorithm
}

func (r *Realm) keys(ctx *pulumi.Context, name string, args *Args, guarded []pulumi.ResourceOption) error {
	for _, k := range args.SigningKeys {
		var store pulumi.Resource
		var err error
		opts := append(r.after(), guarded...)
		if strings.HasPrefix(k.Algorithm, "ES") {
			store, err = keycloak.NewRealmKeystoreEcdsaGenerated(ctx, name+"/"+k.Name, &keycloak.RealmKeystoreEcdsaGeneratedArgs{
				RealmId:          r.ID,
				Name:             pulumi.String(k.Name),
				EllipticCurveKey: pulumi.String(curves[k.Algorithm]),
				Priority:         pulumi.Int(k.Priority),
				Active:           pulumi.Bool(or(k.Active, true)),
				Enabled:          pulumi.Bool(or(k.Enabled, true)),
			}, opts...)
		} else {
			store, err = keycloak.NewRealmKeystoreRsaGenerated(ctx, name+"/"+k.Name, &keycloak.RealmKeystoreRsaGeneratedArgs{
				RealmId:   r.ID,
				Name:      pulumi.String(k.Name),
				Algorithm: pulumi.String(k.Algorithm),
				KeySize:   pulumi.Int(k.Size),
				Priority:  pulumi.Int(k.Priority),
				Active:    pulumi.Bool(or(k.Active, true)),
				Enabled:   pulumi.Bool(or(k.Enabled, true)),
			}, opts...)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		r.Settled = store
	}
	return r.retireKey(ctx, name, args, guarded)
}

// retireKey imports the key store that Keycloak made with the realm. An import
// has to match what is there, and the provider reads what is not set there as
// false: so the first up changes nothing, though it says enabled: false. The
// provider then sends an update only if a property differs, which the algorithm
// does: naming it in the second up is what disables the key.
func (r *Realm) retireKey(ctx *pulumi.Context, name string, args *Args, guarded []pulumi.ResourceOption) error {
	if args.RetireKey.ComponentID == "" {
		return nil
	}
	a := &keycloak.RealmKeystoreRsaGeneratedArgs{
		RealmId:  r.ID,
		Name:     pulumi.String("rsa-generated"),
		KeySize:  pulumi.Int(2048),
		Priority: pulumi.Int(100),
		Active:   pulumi.Bool(false),
		Enabled:  pulumi.Bool(false),
	}
	if args.RetireKey.Disable {
		a.Algorithm = pulumi.String("RS256")
	}
	opts := append(r.after(pulumi.Import(pulumi.ID(args.Name+"/"+args.RetireKey.ComponentID))), guarded...)
	store, err := keycloak.NewRealmKeystoreRsaGenerated(ctx, name+"/rsa-generated", a, opts...)
	if err != nil {
		return fmt.Errorf("rsa-generated: %w", err)
	}
	r.Settled = store
	return nil
}
