package realm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// Settings are what a realm as a whole is told beside its lifetimes and events. The
// zero value is Keycloak's own.
type Settings struct {
	DisplayNameHTML string
	FrontendURL     string
	Login           *config.Login // nil is Keycloak's own
	Themes          config.Themes
	Locales         config.Locales
	SMTP            config.SMTP
	SMTPPassword    pulumi.StringInput // of SMTP.User, made a secret here; nil without one
	Attributes      map[string]string
	Stack           string // PROJECT/STACK, by which a realm says whose it is
	OTP             config.OTP
	WebAuthn        config.WebAuthn
	Passkeys        config.WebAuthn
	RequiredActions []config.RequiredAction
}

// set writes the settings into the realm's inputs. The provider turns each switch
// that is left out into false and keeps the last value of many others, so all is said
// that has a value to say.
func (s *Settings) set(a *keycloak.RealmArgs, events config.Events) {
	s.login(a)
	text := func(value string) pulumi.StringPtrInput {
		if value == "" {
			return nil
		}
		return pulumi.String(value)
	}
	a.DisplayNameHtml = text(s.DisplayNameHTML)
	// The provider can't take a theme away, so one that is left out is not said.
	a.LoginTheme, a.AccountTheme = text(s.Themes.Login), text(s.Themes.Account)
	a.AdminTheme, a.EmailTheme = text(s.Themes.Admin), text(s.Themes.Email)
	if supported := s.Locales.Supported; len(supported) > 0 {
		a.Internationalization = &keycloak.RealmInternationalizationArgs{
			SupportedLocales: pulumi.ToStringArray(slices.Sorted(slices.Values(supported))),
			DefaultLocale:    pulumi.String(cmp.Or(s.Locales.Default, supported[0])),
		}
	}
	if attributes := s.attributes(events); len(attributes) > 0 {
		a.Attributes = attributes
	}
	a.SmtpServer = s.smtp()
	s.policies(a)
}

func (s *Settings) login(a *keycloak.RealmArgs) {
	l := config.Login{WithEmail: true}
	if s.Login != nil {
		l = *s.Login
	}
	a.RegistrationAllowed = pulumi.Bool(l.Registration)
	a.RegistrationEmailAsUsername = pulumi.Bool(l.EmailAsUsername)
	a.LoginWithEmailAllowed = pulumi.Bool(l.WithEmail)
	a.DuplicateEmailsAllowed = pulumi.Bool(l.DuplicateEmails)
	a.RememberMe = pulumi.Bool(l.RememberMe)
	a.VerifyEmail = pulumi.Bool(l.VerifyEmail)
	a.ResetPasswordAllowed = pulumi.Bool(l.ResetPassword)
	a.EditUsernameAllowed = pulumi.Bool(l.EditUsername)
	a.UserManagedAccess = pulumi.Bool(l.UserManagedAccess)
}

// attributes are those of the realm, with the settings that Keycloak keeps among
// them.
func (s *Settings) attributes(events config.Events) pulumi.StringMap {
	attributes := pulumi.ToStringMap(s.Attributes)
	if s.Stack != "" {
		attributes[config.StackAttribute] = pulumi.String(s.Stack)
	}
	if d, err := time.ParseDuration(events.KeepAdminFor); err == nil {
		attributes["adminEventsExpiration"] = pulumi.String(strconv.Itoa(int(d / time.Second)))
	}
	if s.FrontendURL != "" {
		attributes["frontendUrl"] = pulumi.String(strings.TrimRight(s.FrontendURL, "/"))
	}
	return attributes
}

func (s *Settings) smtp() keycloak.RealmSmtpServerPtrInput {
	m := s.SMTP
	if m.Host == "" {
		return nil
	}
	port := m.Port
	switch {
	case port != 0:
	case m.SSL:
		port = 465
	case m.StartTLS:
		port = 587
	default:
		port = 25
	}
	server := &keycloak.RealmSmtpServerArgs{
		Host:     pulumi.String(m.Host),
		Port:     pulumi.String(strconv.Itoa(port)),
		From:     pulumi.String(m.From),
		Starttls: pulumi.Bool(m.StartTLS),
		Ssl:      pulumi.Bool(m.SSL),
	}
	for _, text := range []struct {
		input *pulumi.StringPtrInput
		value string
	}{
		{&server.FromDisplayName, m.FromDisplayName},
		{&server.ReplyTo, m.ReplyTo},
		{&server.ReplyToDisplayName, m.ReplyToDisplayName},
		{&server.EnvelopeFrom, m.EnvelopeFrom},
	} {
		if text.value != "" {
			*text.input = pulumi.String(text.value)
		}
	}
	if m.User != "" && s.SMTPPassword != nil {
		server.Auth = &keycloak.RealmSmtpServerAuthArgs{
			Username: pulumi.String(m.User),
			Password: pulumi.ToSecret(s.SMTPPassword.ToStringOutput()).(pulumi.StringOutput),
		}
	}
	return server
}

// requiredActions sets what people can be made to do. The deletion of one would take
// it away from the realm, so it is retained.
func (r *Realm) requiredActions(ctx *pulumi.Context, name string, actions []config.RequiredAction) error {
	for _, a := range actions {
		a = a.WithDefaults()
		made, err := keycloak.NewRequiredAction(ctx, name+"/"+a.Alias, &keycloak.RequiredActionArgs{
			RealmId:       r.ID,
			Alias:         pulumi.String(a.Alias),
			Name:          pulumi.String(a.Name),
			Enabled:       pulumi.Bool(or(a.Enabled, true)),
			DefaultAction: pulumi.Bool(a.Default),
			Priority:      pulumi.Int(a.Priority),
		}, append(r.after(), pulumi.RetainOnDelete(true))...)
		if err != nil {
			return fmt.Errorf("%s: %w", a.Alias, err)
		}
		r.Settled = made
	}
	return nil
}
