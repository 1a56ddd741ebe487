package refusal

// The codes. Each has a row in the table below.
const (
	// The credential, before anything in it is read.
	NoCredential        Code = "no_credential"
	MalformedCredential Code = "malformed_credential"
	SeveralCredentials  Code = "several_credentials"
	TokenInQuery        Code = "token_in_query"
	FormBody            Code = "form_body"

	// The access token.
	TokenTooLarge            Code = "token_too_large"
	TokenMalformed           Code = "token_malformed"
	TokenEncrypted           Code = "token_encrypted"
	HeaderMalformed          Code = "header_malformed"
	CriticalHeader           Code = "critical_header"
	AlgorithmRefused         Code = "algorithm_refused"
	ClaimsMalformed          Code = "claims_malformed"
	IssuerUnknown            Code = "issuer_unknown"
	KeysUnavailable          Code = "keys_unavailable"
	ClockWrong               Code = "clock_wrong"
	KeyIDMissing             Code = "key_id_missing"
	KeyNotChecked            Code = "key_not_checked"
	KeyUnknown               Code = "key_unknown"
	KeyMismatch              Code = "key_mismatch"
	SignatureInvalid         Code = "signature_invalid"
	IntrospectionUnavailable Code = "introspection_unavailable"
	TokenInactive            Code = "token_inactive"
	AudienceWrong            Code = "audience_wrong"
	TokenExpired             Code = "token_expired"
	TokenNotYetValid         Code = "token_not_yet_valid"
	IssuedInFuture           Code = "issued_in_future"
	LifetimeTooLong          Code = "lifetime_too_long"
	TokenTypeWrong           Code = "token_type_wrong"
	SubjectMissing           Code = "subject_missing"
	SenderConstraint         Code = "sender_constraint"
	TokenRevoked             Code = "token_revoked"
	LogoutJustNow            Code = "logout_just_now"
	ActionRepeated           Code = "action_repeated"

	// The service key.
	ServiceKeyMalformed   Code = "service_key_malformed"
	ServiceKeyRefused     Code = "service_key_refused"
	ServiceKeyWaits       Code = "service_key_waits"
	ServiceKeyUnavailable Code = "service_key_unavailable"

	// The token for a model server (RFC 8693).
	ExchangeBound       Code = "exchange_bound_token"
	ExchangeRefused     Code = "exchange_refused"
	ExchangeUnavailable Code = "exchange_unavailable"

	// The proof of possession (RFC 9449).
	ProofMissing  Code = "dpop_proof_missing"
	ProofInvalid  Code = "dpop_proof_invalid"
	ProofReplayed Code = "dpop_proof_replayed"
	ProofsTooMany Code = "dpop_proofs_too_many"

	// What the principal may do.
	RoleMissing   Code = "role_missing"
	ModelUnknown  Code = "model_unknown"
	ActionRefused Code = "action_refused"

	ResponseUnknown Code = "response_unknown"

	// How the person signed in (RFC 9470).
	SignInTooWeak         Code = "insufficient_authentication"
	SignInUntold          Code = "sign_in_untold"
	ServiceAccountRefused Code = "service_account_refused"
	OfflineTokenRefused   Code = "offline_token_refused"

	LimitReached        Code = "limit_reached"
	CredentialsTooOften Code = "credentials_too_often"

	// The request.
	PathNotCanonical     Code = "path_not_canonical"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	MediaTypeUnsupported Code = "media_type_unsupported"
	EncodingUnsupported  Code = "encoding_unsupported"
	ExpectationFailed    Code = "expectation_failed"
	HeadersTooLarge      Code = "headers_too_large"
	BodyTooLarge         Code = "body_too_large"
	BodyTooSlow          Code = "body_too_slow"
	BodyUnreadable       Code = "body_unreadable"
	BodyMalformed        Code = "body_malformed"
	MemberRefused        Code = "member_refused"
	StateRefused         Code = "state_refused"
	TargetRefused        Code = "target_refused"
	BodyNotSent          Code = "body_not_sent"
	BodyWouldChange      Code = "body_would_change"
	BadTensor            Code = "bad_tensor"

	// The model server.
	UpstreamRefused     Code = "upstream_refused"
	UpstreamUnreachable Code = "upstream_unreachable"
	UpstreamTimeout     Code = "upstream_timeout"
	CallerGone          Code = "caller_gone"

	// The API itself.
	AuditUnavailable       Code = "audit_unavailable"
	SharedStateUnavailable Code = "shared_state_unavailable"
	ShuttingDown           Code = "shutting_down"
	Internal               Code = "internal"

	// The browser sign-in. Those that no program sees are marked so in docs/api.md.
	NoSession         Code = "no_session"
	SessionEnded      Code = "session_ended"
	SeveralSessions   Code = "several_sessions"
	CrossOrigin       Code = "cross_origin"
	IssuerUnavailable Code = "issuer_unavailable"
	IssuerUnfit       Code = "issuer_unfit"
	CallbackMalformed Code = "callback_malformed"
	StateMismatch     Code = "state_mismatch"
	IssuerMismatch    Code = "issuer_mismatch"
	AccessDenied      Code = "access_denied"
	SignInFailed      Code = "sign_in_failed"
	CodeRefused       Code = "code_refused"
	IDTokenRefused    Code = "id_token_refused"
	TokenRefused      Code = "access_token_refused"
	StoreFailed       Code = "session_store_failed"
	OtherPerson       Code = "step_up_by_another"
	LevelNotReached   Code = "level_not_reached"
)

// The error attributes of a challenge.
const (
	invalidRequest             = "invalid_request"
	invalidToken               = "invalid_token"
	insufficientAuthentication = "insufficient_user_authentication"
	invalidDPoPProof           = "invalid_dpop_proof"
)

// table has one row for each code: code, status, OAuth error, what the caller
// is told, what an operator changes. Nothing writes to it.
var table = []Reason{
	{NoCredential, 401, "",
		"Send an access token of this API's issuer: Authorization: Bearer <token>.",
		"Nothing: the caller has to get a token from the issuer that the challenge names."},
	{MalformedCredential, 400, invalidRequest,
		"The Authorization header must be one scheme and one token: Bearer <token>.",
		"Give access_token of the token answer, whole and unchanged. Keycloak has no opaque access tokens."},
	{SeveralCredentials, 400, invalidRequest,
		"Send exactly one credential: one Authorization header, or the session cookie, not both.",
		"The client, or a proxy before the API, adds a second Authorization header: take one of the two out."},
	{TokenInQuery, 400, invalidRequest,
		"Send the access token in the Authorization header, never in the URL. It may have been logged: let it expire or revoke it.",
		"The client sends access_token in the URL. Change it, and revoke the token."},
	{FormBody, 400, invalidRequest,
		"Form bodies are not accepted, since a form can carry a token. Send the token in the Authorization header and the body as application/json.",
		"The client sends a form: make it send JSON."},
	{TokenTooLarge, 401, invalidToken,
		"The access token is larger than this API reads. Take roles and groups out of it that the API doesn't need.",
		"Keycloak: take mappers of {client} out, or use lightweight access tokens (Clients → Advanced → Always use lightweight access token)."},
	{TokenMalformed, 401, invalidToken,
		"The access token is not a signed JSON Web Token.",
		"Give access_token of the token answer, whole and unchanged. Keycloak has no opaque access tokens."},
	{TokenEncrypted, 401, invalidToken,
		"Encrypted tokens are not accepted. Send the signed access token.",
		"Keycloak: access tokens are signed, not encrypted: this is an ID token (Clients → Keys). Send access_token."},
	{HeaderMalformed, 401, invalidToken,
		"The header of the access token can't be read.",
		"Give access_token of the token answer, whole and unchanged. Keycloak has no opaque access tokens."},
	{CriticalHeader, 401, invalidToken,
		"The access token demands an extension (crit) that this API doesn't know.",
		"No Keycloak makes such a token: find out who did."},
	{AlgorithmRefused, 401, invalidToken,
		"The signature algorithm of the access token is not accepted.",
		"Keycloak: Clients → Advanced → Access token signature algorithm (access.token.signed.response.alg). HS256 and HS512 are refresh tokens."},
	{ClaimsMalformed, 401, invalidToken,
		"The claims of the access token can't be read.",
		"Give access_token of the token answer, whole and unchanged. Keycloak has no opaque access tokens."},
	{IssuerUnknown, 401, invalidToken,
		"The access token is of an issuer that this API doesn't trust. Get one from the right realm, by its public URL.",
		"The iss must be the stack's output issuer to the letter: stack configuration publicUrl and realm, Keycloak --hostname. -issuer-internal-url is for an address that only the API uses."},
	{KeysUnavailable, 503, "",
		"The issuer's signing keys are unavailable. Try again later.",
		"Make the issuer reachable from the API (-issuer-internal-url), or give explain the keys by -jwks."},
	{ClockWrong, 503, "",
		"This API can't tell at the moment whether a token is still good. Try again later.",
		"The API's clock and the issuer's are more than two minutes apart; the log says by how much. Set both by NTP."},
	{KeyIDMissing, 401, invalidToken,
		"The access token doesn't say which key signed it: its header has no kid. Send the token as its issuer made it.",
		"Send access_token as Keycloak made it: each has a kid. Another program that makes tokens must set it."},
	{KeyNotChecked, 503, "",
		"The access token is signed with a key that this API doesn't know yet, and its issuer could not be asked for it. Try again later.",
		"Make the issuer reachable from the API (-issuer-internal-url), then try again."},
	{KeyUnknown, 401, invalidToken,
		"The access token is signed with a key that its issuer doesn't publish. Get a new one.",
		"Get a new token. If that has the same kid: Keycloak, Realm settings → Keys: the key must be enabled. With -jwks, fetch the file again."},
	{KeyMismatch, 401, invalidToken,
		"The access token names a key that is not for its algorithm.",
		"Get a new token. If keys came by -jwks, fetch the file of this very realm again."},
	{SignatureInvalid, 401, invalidToken,
		"The signature of the access token is wrong.",
		"Get a new token. If keys came by -jwks, fetch the file of this very realm again."},
	{IntrospectionUnavailable, 503, "",
		"The issuer can't be asked about the access token at the moment. Try again later.",
		"Stack outputs client_id and client_secret must be those of the resource server, and the issuer must answer."},
	{TokenInactive, 401, invalidToken,
		"The issuer says that the access token is no longer active. Sign in again.",
		"Sign in again. Where all tokens are inactive: an Audience mapper with Add to token introspection on must name this API (introspection.token.claim)."},
	{AudienceWrong, 401, invalidToken,
		"The access token is not meant for this API: its audience is another. Request the client scope that adds this API.",
		"Stack configuration: list {client} under clients. Keycloak: a client scope with a mapper of type Audience, Included Client Audience {audience} and Add to access token on, among the default scopes of {client}."},
	{TokenExpired, 401, invalidToken,
		"The access token has expired. Get a new one.",
		"Get a new token. If it is a new one: set the clocks, or -clock-skew. Its lifetime: stack configuration lifetimes.accessToken."},
	{TokenNotYetValid, 401, invalidToken,
		"The access token is not valid yet. Check the clocks.",
		"Set the clocks of Keycloak and the API by NTP, or -clock-skew."},
	{IssuedInFuture, 401, invalidToken,
		"The access token was issued in the future. Check the clocks.",
		"Set the clocks of Keycloak and the API by NTP, or -clock-skew."},
	{LifetimeTooLong, 401, invalidToken,
		"The access token lives longer than this API accepts.",
		"Stack configuration lifetimes.accessToken; Keycloak: Realm settings → Tokens → Access Token Lifespan, or the client's own (access.token.lifespan)."},
	{TokenTypeWrong, 401, invalidToken,
		"This is not an access token. Send the access token, not an ID, refresh or logout token.",
		"Send access_token, not id_token or refresh_token. The header typ comes from Clients → Advanced → Use \"at+jwt\" as access token header type (access.token.header.type.rfc9068)."},
	{SubjectMissing, 401, invalidToken,
		"The access token has no subject. Request the client scope basic.",
		"Keycloak: put the client scope basic among the default scopes of {client}."},
	{SenderConstraint, 401, invalidToken,
		"Send a sender-constrained token with the scheme DPoP and a proof, and any other with the scheme Bearer.",
		"Keycloak: Clients → Capability config → Require DPoP bound tokens (dpop.bound.access.tokens) must go with how {client} sends the token."},
	{TokenRevoked, 401, invalidToken,
		"The access token was revoked or its session has ended. Sign in again.",
		"Sign in again. The realm's not-before: Keycloak, Sessions → Action → Revocation."},
	{LogoutJustNow, 401, invalidToken,
		"The user signed out in the second in which this access token was issued. Send the request once more after one second.",
		"Send the request once more after one second."},
	{ActionRepeated, 400, invalidRequest,
		"This admin action was carried out before.",
		"Keycloak sends each action once: what stands before the API repeats requests."},
	{ServiceKeyMalformed, 401, invalidToken,
		"The service key is not whole: compare it with the one that you were given.",
		"Nothing: the caller has cut it off or mistyped it. The log says what is wrong."},
	{ServiceKeyRefused, 401, invalidToken,
		"The service key is not valid, or not any more. Ask for a new one.",
		"Stack configuration: key of the client; the output service_keys has its key. Keycloak: the client must be enabled. A new secret is a new key."},
	{ServiceKeyWaits, 429, "",
		"Another service key of this client is being checked. Try again in a moment.",
		"Nothing, unless it lasts: then somebody tries keys of this client, and the records have from where. A key that was good is not held up."},
	{ServiceKeyUnavailable, 503, "",
		"The issuer can't be asked about the service key at the moment. Try again later.",
		"Make the issuer reachable from the API: -issuer-internal-url. The log has what it answered."},
	{ExchangeBound, 403, "",
		"This model's server gets a token in your name, and the issuer makes none from a token that is bound to a key. Call it with a bearer token, such as by modelctl login -bearer.",
		"Nothing: Keycloak exchanges no bound tokens (keycloak#51014). {client} must not bind its tokens where it calls such models."},
	{ExchangeRefused, 502, "",
		"The issuer gives no token for this model's server. Tell the people who run this API.",
		"The log has what it answered. Stack configuration: upstream.audience names a client of kind resource, and one of kind exchange exchanges; then pulumi up, and write the outputs anew."},
	{ExchangeUnavailable, 503, "",
		"The issuer can't be asked for a token for this model's server at the moment. Try again later.",
		"Make the issuer reachable from the API: -issuer-internal-url."},
	{ProofMissing, 401, invalidDPoPProof,
		"Send one DPoP header with a proof made for this request.",
		"The client must send one proof with each request; a proxy before the API must pass the header DPoP on."},
	{ProofInvalid, 401, invalidDPoPProof,
		"The DPoP proof is not right for this request, token and key, or not fresh.",
		"-public-url must be the URL that callers use, since htu names it. Set the caller's clock."},
	{ProofReplayed, 401, invalidDPoPProof,
		"This DPoP proof was used before. Make a new one for each request.",
		"The client, or a proxy that repeats requests, sends one proof twice."},
	{ProofsTooMany, 429, "",
		"You sent more DPoP proofs than this API can remember for you. Send fewer requests a second.",
		"One principal sends more requests than one instance remembers proofs for: run more instances, or ask them to slow down."},
	{RoleMissing, 403, "",
		"The access token lacks the realm role %s: ask for it, then get a new token.",
		"Stack configuration: give the user a role of a model, which contains the base role. Keycloak: Users → Role mapping. Then get a new token; it must come through the client scope roles."},
	{ModelUnknown, 404, "",
		"There is no model of this name that you may call: the list of models has those that you may.",
		"Stack configuration: models, and roles of the user or its groups; then pulumi up, reload the API, get a new token."},
	{ActionRefused, 403, "",
		"You may call this model, but not for this: the model takes %s.",
		"Stack configuration: allow.actions of the model."},
	{ResponseUnknown, 404, "",
		"There is no response of this id that is yours. Those of this API are kept for 30 days: send the conversation in input.",
		"Nothing, unless it happens often: responses are known to the instance that passed them on, until it ends."},
	{SignInTooWeak, 401, insufficientAuthentication,
		"This model asks for a sign-in of level %s that is not older than %s. Sign in again at that level.",
		"Nothing: the person signs in again. Where that doesn't help: the session note loa-map must reach the tokens of {client} as the claim loa_map, which the client scope model-api does."},
	{SignInUntold, 403, "",
		"This model asks how its caller signed in, and the access token doesn't say: its client lacks the client scopes acr and basic.",
		"Keycloak: put the client scopes acr and basic among the default scopes of {client}. A lightweight token needs them in introspection answers."},
	{ServiceAccountRefused, 403, "",
		"This model asks for a person who has signed in lately, which a service account can't do. Call it as a person.",
		"Stack configuration: authentication.serviceAccounts of the model lets them in."},
	{OfflineTokenRefused, 403, "",
		"This model asks for a person who has signed in lately, and an offline token is used without one. Sign in without the scope offline_access.",
		"{client} must not request offline_access; stack configuration: not in its defaultScopes."},
	{LimitReached, 429, "",
		"The limit of %s is reached. Try again in %d s.",
		"stack configuration: limits; of a tier, the role or group of the principal."},
	{CredentialsTooOften, 429, "",
		"Too many credentials from this address were forged or broken. Send a good one, or try again later.",
		"Somebody tries credentials, or a client sends a broken one again and again: the audit records have the address and why. Good credentials from the same address go on working. Behind a proxy set -trusted-proxies, otherwise all callers have its address."},
	{PathNotCanonical, 400, "",
		"Use a path with one slash between its segments, none at the end, no dot segments and no escapes.",
		"The client builds the URL with an empty segment, a dot segment or an escape."},
	{NotFound, 404, "",
		"There is nothing at this path.",
		"The client uses a path that docs/api.md doesn't have."},
	{MethodNotAllowed, 405, "",
		"This path takes %s.",
		"The client uses the wrong method: docs/api.md has the right one."},
	{MediaTypeUnsupported, 415, "",
		"Send the inference request with Content-Type: %s.",
		"The client sends another Content-Type, or none."},
	{EncodingUnsupported, 415, "",
		"Send the inference request without a Content-Encoding.",
		"The client compresses the body; a model that the API holds itself takes it as it is."},
	{ExpectationFailed, 417, "",
		"Send the request without the header Expect.",
		"The client sends Expect where no body is taken."},
	{HeadersTooLarge, 431, "",
		"Send less than 64 KiB of headers.",
		"The client, or a proxy before the API, sends too many cookies or headers."},
	{BodyTooLarge, 413, "",
		"The body is larger than %d bytes: send less in one request.",
		"-max-body sets the limit."},
	{BodyTooSlow, 408, "",
		"The body did not arrive in time.",
		"The caller's connection is slow, or holds the body back on purpose."},
	{BodyUnreadable, 400, "",
		"The body broke off.",
		"The caller, or a proxy between, closed the connection."},
	{BodyMalformed, 400, "",
		"%s",
		"The sentence says what is wrong in the body: the client has to change it."},
	{MemberRefused, 400, "",
		"The body has %s, by which a caller would steer the model server or have it read elsewhere: leave it out.",
		"Stack configuration: name it in body.allow of the model, if its server may do what callers ask for by it."},
	{StateRefused, 400, "",
		"This model keeps no responses, so %s names none: leave it out, and send the conversation in input.",
		"Stack configuration: stateful of the model. Without it responses are not stored, since those of one caller would be in reach of all."},
	{TargetRefused, 400, "",
		"The method and the path of the request must come once each, the path below that of this API, without a query, as the caller sent it.",
		"The proxy that asks /authorize must send the method and the raw target in the headers that -authorize-method and -authorize-target name: docs/authorizer.md."},
	{BodyNotSent, 403, "",
		"The body of this request names the model, and the proxy in front did not send it whole to be judged.",
		"docs/authorizer.md: only a proxy that sends whole bodies to /authorize can serve such a model, or send its callers to the API itself."},
	{BodyWouldChange, 403, "",
		"The API would change the body of this request, which the proxy in front can't: send store: false, and nothing that the policy replaces.",
		"Behind a proxy that asks /authorize a model needs its own name at the model server, no upstream.model and no body.principal."},
	{BadTensor, 400, "",
		"%s",
		"The sentence says what is wrong in the body: the client has to change it."},
	{UpstreamRefused, 502, "",
		"The model's server %s.",
		"The log has its status. 401 and 403: upstream.credential of the model. A page or a redirect: upstream.url leads to a proxy, not to the model server."},
	{UpstreamUnreachable, 502, "",
		"The model's server can't be reached.",
		"upstream.url of the model must be reachable from the API, and the server must run."},
	{UpstreamTimeout, 504, "",
		"The model's server did not answer in time.",
		"-upstream-timeout sets the limit; or the server needs more capacity."},
	{CallerGone, 499, "",
		"The caller has left.",
		"Nothing, unless it happens often: the caller waits for less time than the model takes."},
	{AuditUnavailable, 503, "",
		"The audit log of this API can't be written at the moment. Try again later.",
		"What reads the API's standard error must take it: a full disk or a stuck log collector."},
	{SharedStateUnavailable, 503, "",
		"This API can't reach what its instances share, without which it can't answer this request. Try again later.",
		"The Redis that -redis names must answer: docs/redis.md says what works without it."},
	{ShuttingDown, 503, "",
		"This instance of the API is about to stop. Ask another one.",
		"Nothing: a load balancer takes the instance out."},
	{Internal, 500, "",
		"%s",
		"The log has the cause under the X-Request-Id: report it."},
	{NoSession, 401, "",
		"You are not signed in.",
		"Nothing: the person has to sign in."},
	{SessionEnded, 401, "",
		"Your session has ended. Sign in again.",
		"Nothing, unless it ends too soon: -session-idle, -session-lifetime, stack configuration lifetimes."},
	{SeveralSessions, 400, "",
		"The browser sent more than one session cookie. Delete this site's cookies, then sign in again.",
		"Another site of the same domain sets a cookie of the API's name: find it."},
	{CrossOrigin, 403, "",
		"The request came from a page of another site, so nothing was done. Start from the playground.",
		"Pages of other sites call the API with tokens: -cors-origins."},
	{IssuerUnavailable, 503, "",
		"The identity provider can't be reached at the moment. Try again in a minute.",
		"Make the issuer reachable from the API: -issuer-internal-url."},
	{IssuerUnfit, 502, "",
		"The identity provider doesn't offer a safe sign-in. Tell the people who run this API.",
		"go run ./api doctor says what its metadata lack."},
	{CallbackMalformed, 400, "",
		"The answer of the identity provider can't be read. Sign in again.",
		"Nothing, unless it happens often: a proxy changes the query of /callback."},
	{StateMismatch, 400, "",
		"This sign-in was not begun in this browser, or too long ago, or it is used up. Sign in again.",
		"Nothing, unless it happens often: -public-url must be the URL that browsers use, and cookies must come back."},
	{IssuerMismatch, 400, "",
		"The answer came from another identity provider than the one that was asked. Sign in again, and tell the people who run this API if it happens twice.",
		"An attack, or two issuers that share a redirect URI: look at the log."},
	{AccessDenied, 403, "",
		"The identity provider says that the sign-in was cancelled or denied.",
		"Keycloak: the user's events say why."},
	{SignInFailed, 502, "",
		"The identity provider could not finish the sign-in. Sign in again.",
		"The log has the issuer's error; Keycloak's events have the rest."},
	{CodeRefused, 400, "",
		"The identity provider refused to complete this sign-in: it was used before, or it is not for this browser. Sign in again.",
		"Nothing, unless it happens often: output oidc_client_secret must be the client's."},
	{IDTokenRefused, 502, "",
		"The identity provider's answer is not for this sign-in. Sign in again.",
		"go run ./api doctor compares issuer, keys and clocks; the log has the cause."},
	{TokenRefused, 502, "",
		"You are signed in at the identity provider, but this API doesn't accept the token that it gave. Tell the people who run this API.",
		"go run ./api explain says which check refuses the web client's access token."},
	{StoreFailed, 503, "",
		"Your session can't be read or kept at the moment. Try again in a minute.",
		"With several replicas the Redis that -redis names must answer. The log has the cause under the X-Request-Id."},
	{OtherPerson, 403, "",
		"Somebody else signed in than the one who is signed in here, so nothing was done. Sign out first to change the person.",
		"Nothing: one browser has sessions of two people."},
	{LevelNotReached, 403, "",
		"The identity provider signed you in, but not at the level that the model asks for, so nothing was done.",
		"Stack configuration signIn: the browser flow that it declares must be bound. The log has the acr that came."},
}
