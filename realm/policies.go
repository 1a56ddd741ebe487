package realm

import (
	"cmp"
	"slices"
	"time"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// notSpecified is how Keycloak says that a property of WebAuthn is left to the
// browser.
const notSpecified = "not specified"

// policies writes all that Keycloak asks of codes and keys, defaults too: the
// provider keeps the last value of what is left out.
func (s *Settings) policies(a *keycloak.RealmArgs) {
	lookAhead := 1
	if s.OTP.LookAhead != nil {
		lookAhead = *s.OTP.LookAhead
	}
	a.OtpPolicy = &keycloak.RealmOtpPolicyArgs{
		Type:            pulumi.String(cmp.Or(s.OTP.Type, "totp")),
		Algorithm:       pulumi.String(cmp.Or(s.OTP.Algorithm, "HmacSHA1")),
		Digits:          pulumi.Int(cmp.Or(s.OTP.Digits, 6)),
		Period:          wholeSeconds(s.OTP.Period, 30*time.Second),
		InitialCounter:  pulumi.Int(s.OTP.InitialCounter),
		LookAheadWindow: pulumi.Int(lookAhead),
	}
	second := webAuthn(s.WebAuthn, notSpecified)
	// The two are one type in all but their name.
	passkeys := keycloak.RealmWebAuthnPasswordlessPolicyArgs(webAuthn(s.Passkeys, "required"))
	a.WebAuthnPolicy, a.WebAuthnPasswordlessPolicy = &second, &passkeys
}

// webAuthn is a policy of security keys or of passkeys, with the user verification
// that holds where none is configured.
func webAuthn(w config.WebAuthn, verification string) keycloak.RealmWebAuthnPolicyArgs {
	a := keycloak.RealmWebAuthnPolicyArgs{
		RelyingPartyEntityName:          pulumi.String(cmp.Or(w.RelyingPartyName, "keycloak")),
		RelyingPartyId:                  pulumi.String(w.RelyingPartyID),
		SignatureAlgorithms:             algorithms(w.Algorithms),
		AttestationConveyancePreference: pulumi.String(cmp.Or(w.Attestation, notSpecified)),
		AuthenticatorAttachment:         pulumi.String(cmp.Or(w.Attachment, notSpecified)),
		RequireResidentKey:              pulumi.String(residentKey(w.ResidentKey)),
		UserVerificationRequirement:     pulumi.String(cmp.Or(w.UserVerification, verification)),
		CreateTimeout:                   wholeSeconds(w.Timeout, 0),
		AvoidSameAuthenticatorRegister:  pulumi.Bool(w.AvoidSameAuthenticator),
	}
	if len(w.AAGUIDs) > 0 {
		a.AcceptableAaguids = pulumi.ToStringArray(w.AAGUIDs)
	}
	return a
}

func algorithms(names []string) pulumi.StringArray {
	if len(names) == 0 {
		names = []string{"ES256", "RS256"}
	}
	return pulumi.ToStringArray(slices.Sorted(slices.Values(names)))
}

func residentKey(must *bool) string {
	switch {
	case must == nil:
		return notSpecified
	case *must:
		return "Yes"
	}
	return "No"
}

// wholeSeconds is the configured duration in seconds, or the default.
func wholeSeconds(text string, def time.Duration) pulumi.Int {
	d, err := time.ParseDuration(text)
	if err != nil {
		d = def
	}
	return seconds(d)
}
