package realm

import (
	"slices"

	"keycloak-model-api/config"
)

// intent turns what the configuration says of the sign-in into flows.
//
// Each flow asks for a second factor in the same three sub-flows, in this order:
// has-factor runs if the user has one, and asks for nothing; password-is-enough
// records level 1 for those who need none; second-factor asks for it. The last
// one holds for everybody who has reached no level yet, whatever level a client
// asks for, and for whoever is asked for level 2.
type intent struct {
	config.SignIn
	accountURL string
}

const passkey = "webauthn-passwordless" // credential of a sign-in by passkey alone

// sessionAge is the age of level 1, in seconds: longer than any session.
const sessionAge = 365 * 24 * 60 * 60

// Names of sub-flows that others look at.
const (
	hasFactor   = "has-factor"
	secondAsked = "second-factor-asked"
	enrolled    = "second-factor-enrolled"
	codeAsked   = "code-asked"
)

func (i *intent) browser() flow {
	first := run(required, "auth-username-password-form")
	if i.Passkeys {
		first = subflow(required, "password-or-passkey",
			run(alternative, "auth-username-password-form"), run(alternative, "webauthn-authenticator-passwordless"))
	}
	forms := append([]step{first}, i.secondFactor()...)
	return flow{"browser", "Sign-in by browser", []step{
		run(alternative, "auth-cookie"),
		run(alternative, "identity-provider-redirector"),
		subflow(alternative, "forms", forms...),
	}}
}

// afterBroker asks who has signed in at an identity provider for a second factor
// of this realm. A sign-in there counts as a password.
func (i *intent) afterBroker() flow {
	return flow{"after-identity-provider", "Second factor after an identity provider", i.secondFactor()}
}

// afterTrust asks only if a client demands level 2.
func (i *intent) afterTrust() flow {
	return flow{"after-trusted-provider", "Second factor after an identity provider that asks for one itself", []step{
		when("password-is-enough", []step{level(1, sessionAge)}, allow()),
		i.askSecondFactor(),
	}}
}

// firstTrust is the first sign-in at such a provider. It is Keycloak's own flow, but who
// wants to be a user that is there already gives that user's second factor, too: the
// one that the provider asks for may be somebody else's (keycloak#25335). A password
// alone proves nobody who needs a second factor and has none; a mail does.
func (i *intent) firstTrust() flow {
	review, unique := run(required, "idp-review-profile"), run(alternative, "idp-create-user-if-unique")
	review.Config = map[string]string{"update.profile.on.first.login": "missing"}
	unique.Config = map[string]string{"require.password.update.after.registration": "false"}
	byPassword := []step{run(required, "idp-username-password-form")}
	if i.SecondFactor == "required" {
		byPassword = append(byPassword, i.hasFactor(), i.lacksFactor([]step{flowRan(hasFactor, false)}))
	}
	return flow{"first-trusted-provider", "First sign-in by an identity provider that asks for a second factor itself", []step{
		review,
		subflow(required, "account", unique, subflow(alternative, "existing-account",
			run(required, "idp-confirm-link"),
			subflow(required, "verification", run(alternative, "idp-email-verification"), subflow(alternative, "by-password", byPassword...)),
			when(secondAsked, []step{userHas()}, i.factors()...))),
	}}
}

// directGrant takes a one-time code with the password. Who needs a second factor
// and has another one can't use it.
func (i *intent) directGrant() flow {
	steps := []step{run(required, "direct-grant-validate-username"), run(required, "direct-grant-validate-password")}
	var noCode []step
	if i.Has("otp") {
		steps = append(steps, when(codeAsked, []step{userHas()}, run(required, "direct-grant-validate-otp")))
		noCode = []step{flowRan(codeAsked, false)}
	}
	message := "A second factor is needed, which this way in can not ask for."
	switch {
	case i.Everybody() && noCode == nil:
		steps = append(steps, deny(message))
	case i.Everybody():
		steps = append(steps, when("no-code", noCode, deny(message)))
	default:
		steps = append(steps, i.hasFactor(), when("other-factor", append([]step{flowRan(hasFactor, true)}, noCode...), deny(message)))
		if len(i.For) > 0 {
			steps = append(steps, when("no-factor", append([]step{userRole(config.SecondFactorRole, true)}, noCode...), deny(message)))
		}
	}
	return flow{"direct-grant", "Password grant", steps}
}

// refused is for Keycloak's own clients: the provider can't turn the password
// grant off in the up that imports a client.
func refused() flow {
	return flow{"no-direct-grant", "No password grant", []step{deny("The password grant is off.")}}
}

// registration lets nobody in by the account that they have just made, where a
// second factor is needed.
func (i *intent) registration() flow {
	form := subflow(required, "form", run(required, "registration-user-creation"), run(required, "registration-password-action"))
	form.Authenticator, form.Provider = "registration-page-form", "form-flow"
	return flow{"registration", "Registration", append([]step{form}, i.secondFactor()...)}
}

// reset asks for the second factor before it takes a new password, resets none,
// and ends in a sign-in.
func (i *intent) reset() flow {
	return flow{"reset-credentials", "New password by email", []step{
		run(required, "reset-credentials-choose-user"),
		configured("reset-credential-email", map[string]string{"force-login": "true"}),
		when(secondAsked, []step{userHas()}, i.factors()...),
		run(required, "reset-password"),
	}}
}

// secondFactor is what follows the password.
func (i *intent) secondFactor() []step {
	if i.Everybody() {
		return []step{i.askSecondFactor()}
	}
	enough := []step{flowRan(hasFactor, false)}
	if len(i.For) > 0 {
		enough = append(enough, userRole(config.SecondFactorRole, false))
	}
	return []step{
		i.hasFactor(),
		when("password-is-enough", append(enough, level(1, sessionAge)), allow()),
		i.askSecondFactor(),
	}
}

// hasFactor runs if the user has a factor. Its condition looks at the factors
// beside it, none of which is asked for, since the first alternative goes
// through. Keycloak would offer those instead of a first step, so that the first
// step of that alternative is none.
func (i *intent) hasFactor() step {
	through := subflow(alternative, "has-factor-noted", run(disabled, "allow-access-authenticator"), allow())
	return when(hasFactor, []step{userHas()}, append([]step{through}, i.factors()...)...)
}

// factors are the alternatives among which people choose.
func (i *intent) factors() []step {
	var steps []step
	for _, f := range []struct {
		has           bool
		authenticator string
	}{
		{i.Has("otp"), "auth-otp-form"},
		{i.Has("passkey"), "webauthn-authenticator"},
		{i.Passkeys, "webauthn-authenticator-passwordless"},
		{i.Has("recoveryCodes"), "auth-recovery-authn-code-form"},
	} {
		if f.has {
			steps = append(steps, run(alternative, f.authenticator))
		}
	}
	return steps
}

// askSecondFactor brings level 2, by a passkey that was used for the sign-in, by
// a second factor, or, if the configuration says so, by setting one up.
func (i *intent) askSecondFactor() step {
	var unless []step
	var steps []step
	if i.Passkeys {
		steps = append(steps, when("passkey-used", []step{credentialUsed(passkey, true)}, allow()))
		unless = []step{credentialUsed(passkey, false)}
	}
	steps = append(steps, when(secondAsked, slices.Concat([]step{userHas()}, unless), i.factors()...))
	unless = append(unless, flowRan(secondAsked, false))
	if i.SecondFactor == "required" {
		steps = append(steps, i.lacksFactor(unless))
	}
	if i.Enrol != "" {
		unless = append(unless, flowRan(enrolled, false))
	}
	if !i.Everybody() {
		steps = append(steps, when("level-out-of-reach", unless,
			deny("This needs a second factor and your account has none yet. Set one up at "+i.accountURL+" and try again.")))
	}
	return when("second-factor", []step{level(2, int(i.LevelAge().Seconds()))}, steps...)
}

// lacksFactor is for who needs a second factor and, by the conditions, has none: one is
// set up, if the configuration says so, otherwise it is no sign-in.
func (i *intent) lacksFactor(conditions []step) step {
	if len(i.For) > 0 {
		conditions = slices.Concat([]step{userRole(config.SecondFactorRole, true)}, conditions)
	}
	switch {
	case i.Enrol == "":
		return when("second-factor-missing", conditions,
			deny("Your account needs a second factor and has none yet. Ask an administrator to let you set one up."))
	case i.Has("otp"):
		return when(enrolled, conditions, run(required, "auth-otp-form"))
	}
	return when(enrolled, conditions, run(required, "webauthn-authenticator"))
}
