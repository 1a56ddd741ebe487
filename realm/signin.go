package realm

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/authentication"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// SignInArgs says how people sign in.
type SignInArgs struct {
	Realm       pulumi.StringInput // id of the realm
	DeletedWith pulumi.Resource    // the realm's resource, whose deletion takes everything along; may be nil

	SignIn      config.SignIn
	AccountURL  string // page on which people set up a second factor
	RealmInputs string // digest of the realm's inputs, any of which unbinds the flows when it changes
	Asked       bool   // some identity provider's users are asked for a second factor
	Trusted     bool   // some identity provider asks for a second factor itself

	// After must be there first: what changes the realm itself, and the role of
	// those who need a second factor.
	After []pulumi.Resource
}

// SignIn are the flows by which people sign in. A flow that is nil is Keycloak's.
type SignIn struct {
	pulumi.ResourceState

	Browser     *boundFlow
	DirectGrant *boundFlow
	Refused     *boundFlow // a direct grant that nobody passes
	AfterBroker *boundFlow // after a sign-in at an identity provider
	AfterTrust  *boundFlow // after one at a provider that asks for a second factor itself
	FirstTrust  *boundFlow // the first one at such a provider

	// Settled is the last resource that changes the realm itself.
	Settled []pulumi.Resource

	within pulumi.ResourceOption // of all resources
}

// Flows of every realm.
const (
	builtInBrowser     = "browser"
	builtInDirectGrant = "direct grant"
	builtInReset       = "reset credentials"
	builtInRegister    = "registration"
)

// NewSignIn makes the flows and binds them. People enrol by required actions of the
// realm.
func NewSignIn(ctx *pulumi.Context, name string, args *SignInArgs, opts ...pulumi.ResourceOption) (*SignIn, error) {
	s := &SignIn{Settled: args.After}
	if !args.SignIn.Declared() {
		return s, nil
	}
	if err := ctx.RegisterComponentResource("keycloak-model-api:realm:SignIn", name, s, opts...); err != nil {
		return nil, fmt.Errorf("realm: sign-in: %w", err)
	}
	s.within = pulumi.Composite(pulumi.Parent(s), pulumi.DeletedWith(args.DeletedWith))
	bound := &authentication.BindingsArgs{
		RealmId:              args.Realm,
		BrowserFlow:          pulumi.String(builtInBrowser),
		DirectGrantFlow:      pulumi.String(builtInDirectGrant),
		ResetCredentialsFlow: pulumi.String(builtInReset),
		RegistrationFlow:     pulumi.String(builtInRegister),
	}
	if args.SignIn.Flows() {
		if err := s.flows(ctx, args, bound); err != nil {
			return nil, fmt.Errorf("realm: sign-in: %w", err)
		}
	}
	if err := s.bind(ctx, name, args, bound); err != nil {
		return nil, fmt.Errorf("realm: sign-in: bindings: %w", err)
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{})
}

// flows makes all flows and names in bound those that the realm uses.
func (s *SignIn) flows(ctx *pulumi.Context, args *SignInArgs, bound *authentication.BindingsArgs) error {
	maker := &flowMaker{ctx: ctx, realm: args.Realm, within: s.within, last: args.After}
	i := &intent{args.SignIn, args.AccountURL}
	var reset, registration *boundFlow
	for _, f := range []struct {
		wanted bool
		flow   flow
		made   **boundFlow
	}{
		{true, i.browser(), &s.Browser},
		{true, i.directGrant(), &s.DirectGrant},
		{true, i.reset(), &reset},
		{true, i.registration(), &registration},
		{args.SignIn.SecondFactor == "required", refused(), &s.Refused},
		{args.Asked, i.afterBroker(), &s.AfterBroker},
		{args.Trusted, i.afterTrust(), &s.AfterTrust},
		{args.Trusted, i.firstTrust(), &s.FirstTrust},
	} {
		if !f.wanted {
			continue
		}
		made, err := maker.make(f.flow)
		if err != nil {
			return err
		}
		*f.made = made
	}
	s.Settled = maker.last
	bound.BrowserFlow = pulumi.String(s.Browser.Alias)
	bound.DirectGrantFlow = pulumi.String(s.DirectGrant.Alias)
	bound.ResetCredentialsFlow = pulumi.String(reset.Alias)
	bound.RegistrationFlow = pulumi.String(registration.Alias)
	return nil
}

// bind says which flows the realm uses. An update of the realm puts Keycloak's
// own back, so the name of what binds ours ends in a digest of the realm's
// inputs: the same up then binds them again. The deletion of the last one would
// bind Keycloak's own, so that it is retained.
func (s *SignIn) bind(ctx *pulumi.Context, name string, args *SignInArgs, bound *authentication.BindingsArgs) error {
	digest, err := inputsDigest(bound, args.RealmInputs)
	if err != nil {
		return err
	}
	made, err := authentication.NewBindings(ctx, name+"-"+digest, bound,
		s.within, pulumi.DependsOn(s.Settled), pulumi.RetainOnDelete(true))
	if err != nil {
		return err
	}
	s.Settled = []pulumi.Resource{made}
	return nil
}

// settled has a resource come after the flows that it names.
func (s *SignIn) settled() pulumi.ResourceOption {
	if s == nil {
		return pulumi.DependsOn(nil)
	}
	return pulumi.DependsOn(s.Settled)
}

// after is the flow that follows a sign-in at an identity provider.
func (s *SignIn) after(p *config.IdentityProvider) pulumi.StringPtrInput {
	switch {
	case s == nil || s.Browser == nil:
		return nil
	case p.SecondFactor == "trust":
		return pulumi.String(s.AfterTrust.Alias)
	}
	return pulumi.String(s.AfterBroker.Alias)
}

// first is the flow of the first sign-in at an identity provider. Nil is Keycloak's,
// which is enough where the flow afterwards asks for a second factor.
func (s *SignIn) first(p *config.IdentityProvider) pulumi.StringPtrInput {
	if s == nil || s.FirstTrust == nil || p.SecondFactor != "trust" {
		return nil
	}
	return pulumi.String(s.FirstTrust.Alias)
}

// signInAttributes of the realm name the levels. Keycloak's own switch for passkeys
// is none: it takes that attribute, but does not give it back, so that each
// refresh would find a difference.
func signInAttributes(s *config.SignIn) pulumi.StringMap {
	if !s.Flows() {
		return nil
	}
	return pulumi.StringMap{config.LevelsAttribute: pulumi.String(`{"1":1,"2":2}`)}
}

// passwordRounds make a guess at a password from its digest slow.
const passwordRounds = 200_000

// realmDigest is a digest of the realm's inputs, the mail server's password
// included where it is known.
func realmDigest(args *Args, inputs *keycloak.RealmArgs) (string, error) {
	password, ok := args.Settings.SMTPPassword.(pulumi.String)
	if !ok {
		return inputsDigest(inputs, "")
	}
	hash, err := pbkdf2.Key(sha256.New, string(password), []byte(args.Name), passwordRounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("digest of the mail server's password: %w", err)
	}
	return inputsDigest(inputs, string(hash))
}

// inputsDigest is a digest of the inputs of a resource and of more. It leaves out
// outputs, which are ids and secrets: more has to stand for those.
func inputsDigest(inputs any, more string) (string, error) {
	text, err := json.Marshal(plain(reflect.ValueOf(inputs)))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(text, more...))
	return hex.EncodeToString(sum[:4]), nil
}

// plain is a value without outputs, which can't be written as JSON.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
	}
	if _, ok := v.Interface().(pulumi.Output); ok {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return plain(v.Elem())
	case reflect.Struct:
		fields := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				fields[f.Name] = plain(v.Field(i))
			}
		}
		return fields
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	case reflect.Map:
		m := map[string]any{}
		for _, key := range v.MapKeys() {
			m[key.String()] = plain(v.MapIndex(key))
		}
		return m
	}
	return v.Interface()
}
