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

// keys makes the key stores that sign, one after the other.
func (r *Realm) keys(ctx *pulumi.Context, name string, args *Args) error {
	for i := range args.SigningKeys {
		if k := &args.SigningKeys[i]; k.Signs() {
			if err := r.keyStore(ctx, name, k, args, r.Settled); err != nil {
				return fmt.Errorf("%s: %w", k.Name, err)
			}
		}
	}
	return nil
}

// RestingKeys makes the key stores of args that sign nothing, and retires the one
// that Keycloak made. Whoever signs by another key, after, comes first: for as
// long as a realm has no active key of an algorithm that a client asks for,
// Keycloak makes one of its own, which stays.
func (r *Realm) RestingKeys(ctx *pulumi.Context, name string, args *Args, after ...pulumi.Resource) error {
	for i := range args.SigningKeys {
		if k := &args.SigningKeys[i]; !k.Signs() {
			if err := r.keyStore(ctx, name, k, args, append(after, r.Settled)...); err != nil {
				return fmt.Errorf("realm: keys: %s: %w", k.Name, err)
			}
		}
	}
	if args.RetireKey.ComponentID == "" {
		return nil
	}
	if err := r.retireKey(ctx, name, args, append(after, r.Settled)); err != nil {
		return fmt.Errorf("realm: keys: rsa-generated: %w", err)
	}
	return nil
}

func (r *Realm) keyStore(ctx *pulumi.Context, name string, k *config.SigningKey, args *Args, after ...pulumi.Resource) error {
	opts := r.guarded(args, pulumi.DependsOn(after))
	var store pulumi.Resource
	var err error
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
		return err
	}
	r.Settled = store
	return nil
}

// retireKey imports the key store that Keycloak made with the realm and disables
// it. The import finds a store without an algorithm, for which the provider's
// default stands in the program: this difference makes the provider send an
// update in the same up, which disables the key.
func (r *Realm) retireKey(ctx *pulumi.Context, name string, args *Args, after []pulumi.Resource) error {
	store, err := keycloak.NewRealmKeystoreRsaGenerated(ctx, name+"/rsa-generated", &keycloak.RealmKeystoreRsaGeneratedArgs{
		RealmId:  r.ID,
		Name:     pulumi.String("rsa-generated"),
		KeySize:  pulumi.Int(2048),
		Priority: pulumi.Int(100),
		Active:   pulumi.Bool(false),
		Enabled:  pulumi.Bool(false),
	}, r.guarded(args, pulumi.DependsOn(after), pulumi.Import(pulumi.ID(args.Name+"/"+args.RetireKey.ComponentID)))...)
	if err != nil {
		return err
	}
	r.Settled = store
	return nil
}
