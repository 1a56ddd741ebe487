// Package realm makes a Keycloak realm: its lifetimes and hardening, the events
// that it keeps, the profile of its users, its signing keys and, last of all,
// the identity providers and directories that it trusts.
package realm

import (
	"cmp"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
	"keycloak-model-api/hardening"
)

// Args says what the realm is.
type Args struct {
	Name           string                // name of the realm, part of its issuer URL
	DisplayName    pulumi.StringPtrInput // name on the login page
	Hardening      hardening.Level       // what Lifetimes and Events leave out
	Lifetimes      config.Lifetimes
	Events         config.Events
	Settings       Settings
	SignIn         config.SignIn          // whose attributes the realm has; NewSignIn makes the rest
	UserAttributes []config.UserAttribute // attributes beside the four that every user has
	SigningKeys    []config.SigningKey    // RestingKeys makes those that sign nothing
	RetireKey      config.RetireKey
	Protect        bool // guard the realm and its keys against deletion
}

// Realm is the realm with what belongs to it alone.
type Realm struct {
	pulumi.ResourceState

	ID pulumi.StringOutput `pulumi:"realmId"` // id, which is the realm's name, for the realmId of other resources

	// Settled is the last of the resources that change the realm itself.
	// Keycloak answers 409 to two such changes at once, and drops attributes of
	// users whose profile is not there yet: default groups and users depend on it.
	Settled pulumi.Resource

	// Resource is the realm itself. What stands in it names it as DeletedWith, so
	// that a destroy is one call to Keycloak, which can't fail on the way.
	Resource pulumi.Resource

	// Inputs is a digest of the realm's inputs.
	Inputs string
}

// New makes the realm.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Realm, error) {
	r := &Realm{}
	if err := ctx.RegisterComponentResource("keycloak-model-api:realm:Realm", name, r, opts...); err != nil {
		return nil, fmt.Errorf("realm: %w", err)
	}
	inputs := realmArgs(args)
	realm, err := keycloak.NewRealm(ctx, name, inputs, realmOptions(r, args)...)
	if err != nil {
		return nil, fmt.Errorf("realm: %w", err)
	}
	if r.Inputs, err = realmDigest(args, inputs); err != nil {
		return nil, fmt.Errorf("realm: %w", err)
	}
	r.ID = realm.ID().ToStringOutput()
	r.Resource, r.Settled = realm, realm

	if err := r.events(ctx, name, args); err != nil {
		return nil, fmt.Errorf("realm: events: %w", err)
	}
	if err := r.requiredActions(ctx, name, args.Settings.RequiredActions); err != nil {
		return nil, fmt.Errorf("realm: required actions: %w", err)
	}
	if err := r.userProfile(ctx, name, args.UserAttributes); err != nil {
		return nil, fmt.Errorf("realm: user profile: %w", err)
	}
	if err := r.keys(ctx, name, args); err != nil {
		return nil, fmt.Errorf("realm: keys: %w", err)
	}
	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{"realmId": r.ID})
}

// after are the options of a resource that changes the realm itself.
func (r *Realm) after() []pulumi.ResourceOption {
	return []pulumi.ResourceOption{pulumi.Parent(r), pulumi.DependsOn([]pulumi.Resource{r.Settled}), pulumi.DeletedWith(r.Resource)}
}

// guarded are the options of a key store.
func (r *Realm) guarded(args *Args, opts ...pulumi.ResourceOption) []pulumi.ResourceOption {
	return append(opts, pulumi.Parent(r), pulumi.DeletedWith(r.Resource), pulumi.Protect(args.Protect))
}

// realmOptions are those of the realm itself. The provider can't turn the bound on
// offline sessions off: it would try at every refresh. So a bound that was there
// stays on, as long as Keycloak's own, where no other is asked for.
func realmOptions(r *Realm, args *Args) []pulumi.ResourceOption {
	opts := []pulumi.ResourceOption{pulumi.Parent(r), pulumi.Protect(args.Protect)}
	if !boundsOffline(args) {
		opts = append(opts, pulumi.IgnoreChanges([]string{"offlineSessionMaxLifespanEnabled"}))
	}
	return opts
}

func boundsOffline(args *Args) bool {
	return args.Lifetimes.OfflineMax != "" || args.Hardening.OfflineMax > 0
}

// keycloakOfflineMax is the bound of a new realm, which does not enforce it.
const keycloakOfflineMax = 60 * 24 * time.Hour

func realmArgs(args *Args) *keycloak.RealmArgs {
	level, l := args.Hardening, args.Lifetimes
	a := &keycloak.RealmArgs{
		Realm:       pulumi.String(args.Name),
		DisplayName: args.DisplayName,
		Enabled:     pulumi.Bool(true),

		AccessTokenLifespan:       lifetime(l.AccessToken, level.AccessToken),
		SsoSessionIdleTimeout:     lifetime(l.SSOIdle, level.SSOIdle),
		SsoSessionMaxLifespan:     lifetime(l.SSOMax, level.SSOMax),
		OfflineSessionIdleTimeout: lifetime(l.OfflineIdle, level.OfflineIdle),
		OfflineSessionMaxLifespan: lifetime(l.OfflineMax, cmp.Or(level.OfflineMax, keycloakOfflineMax)),
		Oauth2DeviceCodeLifespan:  lifetime(l.DeviceCode, level.DeviceCode),
		AccessCodeLifespan:        lifetime(l.AuthorizationCode, level.AuthorizationCode),
		ClientSessionIdleTimeout:  lifetime(l.ClientSessionIdle, 0),
		ClientSessionMaxLifespan:  lifetime(l.ClientSessionMax, 0),

		AccessCodeLifespanLogin:             lifetime(l.Login, 0),
		AccessCodeLifespanUserAction:        lifetime(l.LoginAction, 0),
		ActionTokenGeneratedByUserLifespan:  lifetime(l.UserMail, 0),
		ActionTokenGeneratedByAdminLifespan: lifetime(l.AdminMail, 0),
		SsoSessionIdleTimeoutRememberMe:     lifetime(l.RememberMeIdle, 0),
		SsoSessionMaxLifespanRememberMe:     lifetime(l.RememberMeMax, 0),

		SecurityDefenses: defenses(level),
	}
	if l.DevicePolling != "" {
		a.Oauth2DevicePollingInterval = wholeSeconds(l.DevicePolling, 0)
	}
	args.Settings.set(a, args.Events)
	a.OfflineSessionMaxLifespanEnabled = pulumi.Bool(boundsOffline(args))
	if reuse := l.RefreshTokenReuse; reuse != nil {
		a.RevokeRefreshToken, a.RefreshTokenMaxReuse = pulumi.Bool(true), pulumi.Int(*reuse)
	} else if level.RotateRefresh {
		a.RevokeRefreshToken, a.RefreshTokenMaxReuse = pulumi.Bool(true), pulumi.Int(0)
	}
	if policy := passwordPolicy(level); policy != "" {
		a.PasswordPolicy = pulumi.String(policy)
	}
	if attributes := signInAttributes(&args.SignIn); attributes != nil {
		if others, ok := a.Attributes.(pulumi.StringMap); ok {
			maps.Copy(attributes, others)
		}
		a.Attributes = attributes
	}
	if level.SSLRequired != "" {
		a.SslRequired = pulumi.String(level.SSLRequired)
	}
	return a
}

// lifetime is the configured duration, otherwise the level's, in the form in which
// the provider reads it back.
func lifetime(configured string, level time.Duration) pulumi.StringPtrInput {
	if configured == "" {
		if level == 0 {
			return nil
		}
		return pulumi.String(level.String())
	}
	d, err := time.ParseDuration(configured)
	if err != nil {
		return pulumi.String(configured) // the provider's error names it
	}
	return pulumi.String(d.String())
}

func passwordPolicy(level hardening.Level) string {
	var rules []string
	if level.PasswordLength > 0 {
		rules = append(rules, fmt.Sprintf("length(%d)", level.PasswordLength))
	}
	if level.PasswordPolicy != "" {
		rules = append(rules, level.PasswordPolicy)
	}
	return strings.Join(rules, " and ")
}

func defenses(level hardening.Level) keycloak.RealmSecurityDefensesPtrInput {
	if level.BruteForce == nil && level.Headers == nil {
		return nil
	}
	d := &keycloak.RealmSecurityDefensesArgs{}
	if b := level.BruteForce; b != nil {
		d.BruteForceDetection = &keycloak.RealmSecurityDefensesBruteForceDetectionArgs{
			PermanentLockout:             pulumi.Bool(b.PermanentLockout),
			MaxLoginFailures:             pulumi.Int(b.MaxLoginFailures),
			WaitIncrementSeconds:         seconds(b.WaitIncrement),
			MaxFailureWaitSeconds:        seconds(b.MaxFailureWait),
			FailureResetTimeSeconds:      seconds(b.FailureReset),
			QuickLoginCheckMilliSeconds:  pulumi.Int(int(b.QuickLoginCheck.Milliseconds())),
			MinimumQuickLoginWaitSeconds: seconds(b.MinimumQuickLogin),
		}
	}
	if h := level.Headers; h != nil {
		d.Headers = &keycloak.RealmSecurityDefensesHeadersArgs{
			ContentSecurityPolicy:           pulumi.String(h.ContentSecurityPolicy),
			ContentSecurityPolicyReportOnly: pulumi.String(h.ReportOnly),
			XFrameOptions:                   pulumi.String(h.FrameOptions),
			XContentTypeOptions:             pulumi.String(h.ContentTypeOptions),
			ReferrerPolicy:                  pulumi.String(h.ReferrerPolicy),
			XRobotsTag:                      pulumi.String(h.RobotsTag),
			StrictTransportSecurity:         pulumi.String(h.StrictTransportSecurity),
			XXssProtection:                  pulumi.String(h.XSSProtection),
		}
	}
	return d
}

func seconds(d time.Duration) pulumi.Int { return pulumi.Int(int(d / time.Second)) }

func (r *Realm) events(ctx *pulumi.Context, name string, args *Args) error {
	e, level := args.Events, args.Hardening
	if !e.Kept(level) {
		return nil
	}
	keep := cmp.Or(level.KeepEvents, 7*24*time.Hour)
	if e.KeepFor != "" {
		d, err := time.ParseDuration(e.KeepFor)
		if err != nil {
			return err
		}
		keep = d
	}
	listeners := e.Listeners
	if listeners == nil {
		listeners = []string{"jboss-logging"}
	}
	a := &keycloak.RealmEventsArgs{
		RealmId:                   r.ID,
		EventsEnabled:             pulumi.Bool(true),
		EventsExpiration:          seconds(keep),
		EventsListeners:           pulumi.ToStringArray(listeners),
		AdminEventsEnabled:        pulumi.Bool(true),
		AdminEventsDetailsEnabled: pulumi.Bool(or(e.AdminDetail, level.EventDetails)),
	}
	if len(e.Types) > 0 {
		a.EnabledEventTypes = pulumi.ToStringArray(e.Types)
	}
	events, err := keycloak.NewRealmEvents(ctx, name, a, r.after()...)
	if err != nil {
		return err
	}
	r.Settled = events
	return nil
}

// userProfile declares the attributes of users. Without attributes of our own
// Keycloak's profile stays as it is.
func (r *Realm) userProfile(ctx *pulumi.Context, name string, own []config.UserAttribute) error {
	if len(own) == 0 {
		return nil
	}
	both, admin := pulumi.ToStringArray([]string{"admin", "user"}), pulumi.ToStringArray([]string{"admin"})
	attribute := func(name, displayName string, edits pulumi.StringArray, required bool, validators ...keycloak.RealmUserProfileAttributeValidatorInput) *keycloak.RealmUserProfileAttributeArgs {
		a := &keycloak.RealmUserProfileAttributeArgs{
			Name:        pulumi.String(name),
			DisplayName: pulumi.String(displayName),
			Permissions: &keycloak.RealmUserProfileAttributePermissionsArgs{Views: both, Edits: edits},
		}
		if required {
			a.RequiredForRoles = pulumi.ToStringArray([]string{"user"})
		}
		if len(validators) > 0 {
			a.Validators = keycloak.RealmUserProfileAttributeValidatorArray(validators)
		}
		return a
	}
	validator := func(name string) keycloak.RealmUserProfileAttributeValidatorInput {
		return keycloak.RealmUserProfileAttributeValidatorArgs{Name: pulumi.String(name)}
	}
	// Keycloak takes numbers as texts too, and the provider knows texts only.
	length := func(bounds map[string]string) keycloak.RealmUserProfileAttributeValidatorInput {
		return keycloak.RealmUserProfileAttributeValidatorArgs{Name: pulumi.String("length"), Config: pulumi.ToStringMap(bounds)}
	}
	most := length(map[string]string{"max": "255"})
	// The profile replaces Keycloak's, so it must name what every user has, with
	// the validators of a new realm's profile: without them any text is a
	// username or an email address.
	attributes := keycloak.RealmUserProfileAttributeArray{
		attribute("username", "${username}", both, false, length(map[string]string{"min": "3", "max": "255"}),
			validator("username-prohibited-characters"), validator("up-username-not-idn-homograph")),
		attribute("email", "${email}", both, true, validator("email"), most),
		attribute("firstName", "${firstName}", both, true, most, validator("person-name-prohibited-characters")),
		attribute("lastName", "${lastName}", both, true, most, validator("person-name-prohibited-characters")),
	}
	for _, a := range own {
		edits := admin
		if a.UserEditable {
			edits = both
		}
		attributes = append(attributes, attribute(a.Name, cmp.Or(a.DisplayName, a.Name), edits, a.Required))
	}
	profile, err := keycloak.NewRealmUserProfile(ctx, name, &keycloak.RealmUserProfileArgs{
		RealmId:    r.ID,
		Attributes: attributes,
	}, append(r.after(), pulumi.RetainOnDelete(true))...) // Keycloak answers 400 to its deletion
	if err != nil {
		return err
	}
	r.Settled = profile
	return nil
}

func or(p *bool, def bool) bool {
	if p == nil {
		return def
	}
	return *p
}
