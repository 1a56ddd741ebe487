package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Load reads the stack's configuration, completes it and validates it whole.
// Warnings go to Pulumi's log. getenv and readFile stand for os.Getenv and
// os.ReadFile. The error holds every problem, one a line, each with its key.
func Load(ctx *pulumi.Context, getenv func(string) string, readFile func(string) ([]byte, error)) (*Config, error) {
	cfg, warnings, err := Parse(Source{
		Project:  ctx.Project(),
		Stack:    ctx.Stack(),
		Value:    ctx.GetConfig,
		IsSecret: ctx.IsConfigSecret,
		Getenv:   getenv,
		ReadFile: readFile,
	})
	for _, w := range warnings {
		if err := ctx.Log.Warn(w, nil); err != nil {
			return nil, fmt.Errorf("config: log a warning: %w", err)
		}
	}
	return cfg, err
}

// Source is where Parse finds values.
type Source struct {
	Project  string                            // namespace of the stack's own keys
	Stack    string                            // name of the stack, and so of its file
	Value    func(key string) (string, bool)   // value of a full key such as keycloak:url
	IsSecret func(key string) bool             // whether the value of a full key is encrypted
	Getenv   func(string) string               // KEYCLOAK_URL, KEYCLOAK_BASE_PATH and PULUMI_CONFIG
	ReadFile func(name string) ([]byte, error) // for usersFile, the stack file and Pulumi.yaml
}

// Parse reads, completes and validates a configuration. It returns the warnings
// also when there is an error.
func Parse(src Source) (*Config, []string, error) {
	cfg := &Config{}
	d := &decoder{}
	d.whole(cfg, src)
	file := readStackFile(src)
	plainSecrets(d, src, file, reflect.ValueOf(cfg).Elem())
	unknownKeys(d, src)
	cfg.keycloakURL = keycloakURL(cfg, src)

	origins := make([]string, len(cfg.Users))
	for i := range cfg.Users {
		origins[i] = fmt.Sprintf("users[%d]", i)
	}
	if cfg.UsersFile != "" {
		more, where := readUsers(d, cfg.UsersFile, src.ReadFile)
		cfg.Users = append(cfg.Users, more...)
		origins = append(origins, where...)
	}
	cfg.DisplayName = cmp.Or(cfg.DisplayName, cfg.Realm)
	for i := range cfg.Clients {
		cfg.Clients[i] = cfg.Clients[i].WithDefaults()
		cfg.tellAPI(&cfg.Clients[i])
	}

	c := &checker{decoder: d, cfg: cfg, unread: d.problems, userPath: origins}
	c.all()
	var warnings []string
	for _, p := range c.warnings {
		warnings = append(warnings, file.line(cfg, p))
	}
	if len(d.problems) == 0 {
		return cfg, warnings, nil
	}
	var errs []error
	for _, p := range d.problems {
		errs = append(errs, errors.New(file.line(cfg, p)))
	}
	return nil, warnings, fmt.Errorf("config: correct the stack's configuration%s (%d):\n%w", environmentUnsaid(cfg, src, file),
		len(errs), errors.Join(errs...))
}

// environmentUnsaid tells whoever left environment out which one holds: in dev
// much of what is refused would be a warning, or would be made.
func environmentUnsaid(cfg *Config, src Source, file stackFile) string {
	_, given := src.Value(src.Project + ":environment")
	if cfg.Environment != "prod" || file.config != nil && file.sets("environment") || file.config == nil && given {
		return ""
	}
	return ", whose environment is prod since it sets none (environment: dev is for development)"
}

// plainSecrets refuses secrets that are not encrypted, in every environment:
// the stack file is under version control.
func plainSecrets(d *decoder, src Source, file stackFile, v reflect.Value) {
	refuse := func(path, arguments string) {
		d.errorf(path, "is a plain secret: remove it, change the secret, and set it by: pulumi config set --secret %s", arguments)
	}
	for _, f := range fields(v.Type()) {
		key := jsonName(f)
		if f.Tag.Get("secret") == "" {
			continue
		}
		names := file.plain(key)
		for _, name := range names {
			path := fmt.Sprintf("%s[%q]", key, name)
			refuse(path, "--path '"+path+"'")
		}
		arguments := key // of one secret
		if f.Type.Kind() != reflect.String {
			arguments = "--path '" + key + `["NAME"]'`
		}
		if !file.sets(key) && inProjectFile(src, key) {
			d.errorf(key, "has a plain secret in Pulumi.yaml: remove it, change the secret, and set it by: pulumi config set --secret "+
				"%s", arguments)
		} else if names == nil && v.FieldByIndex(f.Index).Len() > 0 && !src.IsSecret(src.Project+":"+key) {
			refuse(key, arguments)
		}
	}
	for _, key := range []string{"keycloak:clientSecret", "keycloak:password"} {
		if value, _ := src.Value(key); value != "" && !src.IsSecret(key) {
			refuse(key, key)
		}
	}
}

// providerKeys are what the Keycloak provider reads from its own namespace.
var providerKeys = map[string]bool{
	"additionalHeaders": true, "basePath": true, "clientId": true, "clientSecret": true, "clientTimeout": true,
	"initialLogin": true, "password": true, "realm": true, "redHatSso": true, "rootCaCertificate": true,
	"tlsInsecureSkipVerify": true, "url": true, "username": true,
}

// unknownKeys finds top-level keys that nobody reads. Pulumi hands the program
// all keys in PULUMI_CONFIG and lets it ask only for those that it knows.
func unknownKeys(d *decoder, src Source) {
	raw := src.Getenv("PULUMI_CONFIG")
	if raw == "" {
		return
	}
	var all map[string]any
	if err := unmarshal(raw, &all); err != nil {
		d.errorf("PULUMI_CONFIG", "%v", err)
		return
	}
	own := map[string]bool{}
	for _, f := range fields(reflect.TypeFor[Config]()) {
		own[jsonName(f)] = true
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		space, name, _ := strings.Cut(key, ":")
		switch {
		case space == src.Project && !own[name]:
			d.errorf(name, "%s", unknownKey(name, own))
		case space == "keycloak" && !providerKeys[name]:
			d.errorf(key, "the Keycloak provider does not have it: %s", unknownKey(name, providerKeys))
		case space != src.Project && space != "keycloak":
			// Others are the business of other programs, but a typo in ours would
			// be dropped in silence.
			if meant := nearest(space, []string{src.Project, "keycloak"}); meant != "" {
				d.errorf(key, "nothing reads the prefix %s; did you mean %s:%s?", space, meant, name)
			}
		}
	}
}

// keycloakURL is Keycloak's URL as clients see it, with its base path and
// without a slash at the end, or "".
func keycloakURL(cfg *Config, src Source) string {
	trim := func(s string) string { return strings.TrimRight(s, "/") }
	if cfg.PublicURL != "" {
		return trim(cfg.PublicURL)
	}
	first := func(key, env string) string {
		if v, _ := src.Value("keycloak:" + key); v != "" {
			return v
		}
		return src.Getenv(env)
	}
	url := trim(first("url", "KEYCLOAK_URL"))
	if base := strings.Trim(first("basePath", "KEYCLOAK_BASE_PATH"), "/"); base != "" && url != "" {
		url += "/" + base
	}
	return url
}
