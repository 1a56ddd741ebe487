package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/policy"
)

// stackFiles are the stack files that a document shows: its blocks of YAML that
// begin with config:.
func stackFiles(t *testing.T, document string) []string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for i, part := range strings.Split(string(text), "\n```") {
		if block, ok := strings.CutPrefix(part, "yaml\nconfig:\n"); ok && i%2 == 1 {
			found = append(found, "config:\n"+block)
		}
	}
	return found
}

// shown are the settings of a stack file in a document, with what it leaves out
// and with its secrets.
func shown(t *testing.T, text string) settings {
	t.Helper()
	var file struct {
		Config map[string]any
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	over, err := yaml.Marshal(file.Config)
	if err != nil {
		t.Fatal(err)
	}
	s := with(t, string(over))
	for id := range s[project+":clientSecrets"].(map[string]string) {
		s[project+":clientSecrets"].(map[string]string)[id] = "b1946ac92492d2347c6235b4d2611184a3f07c1e5d8b9620c7d4e5f60718293a"
	}
	names := func(key, by string) map[string]string {
		secrets := map[string]string{}
		list, _ := s[project+":"+key].([]any)
		for _, e := range list {
			secrets[fmt.Sprint(e.(map[string]any)[by])] = "a long enough secret"
		}
		return secrets
	}
	s[project+":initialPasswords"] = names("users", "username")
	if mail, _ := s[project+":smtp"].(map[string]any); mail["user"] != nil {
		s[project+":smtpPassword"] = "a long enough secret"
	}
	federated := names("identityProviders", "alias")
	for name, secret := range names("ldap", "name") {
		federated[name] = secret
	}
	s[project+":federationSecrets"] = federated
	return s
}

// Each stack file in the documents goes up.
func TestDocumentedConfiguration(t *testing.T) {
	documents := []string{"docs/clients.md", "docs/hardening.md", "docs/keys.md", "docs/limits.md", "docs/pulumi.md", "docs/realm.md", "docs/servers.md", "docs/service-keys.md", "docs/sign-in.md", "docs/ten-minutes.md", "docs/token-exchange.md", "docs/users.md"}
	n := 0
	for _, document := range documents {
		for i, text := range stackFiles(t, document) {
			n++
			t.Run(fmt.Sprintf("%s %d", document, i+1), func(t *testing.T) {
				if _, _, err := up(t, shown(t, text)); err != nil {
					t.Errorf("%v\nin\n%s", err, text)
				}
			})
		}
	}
	if n < 10 {
		t.Errorf("%d stack files in the documents: are they marked as YAML?", n)
	}
}

// The pattern for programs that look for secrets is the one of the keys.
func TestDocumentedKeyPattern(t *testing.T) {
	text, err := os.ReadFile("docs/service-keys.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), policy.ServiceKeyPattern); n != 2 {
		t.Errorf("docs/service-keys.md has the pattern %s %d times, want twice", policy.ServiceKeyPattern, n)
	}
}

// The codes that docs/troubleshooting.md has advice for are codes of the API.
func TestDocumentedCodes(t *testing.T) {
	read := func(document string) string {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	row := regexp.MustCompile("(?m)^\\| (`[a-z_]+`(?:, `[a-z_]+`)*) \\|")
	table, n := read("docs/api.md"), 0
	_, advice, _ := strings.Cut(read("docs/troubleshooting.md"), "## By code")
	advice, _, _ = strings.Cut(advice, "\n## ")
	for _, cells := range row.FindAllStringSubmatch(advice, -1) {
		for code := range strings.SplitSeq(cells[1], ", ") {
			n++
			if !strings.Contains(table, " | "+code+" | ") {
				t.Errorf("docs/troubleshooting.md has %s, which the table of docs/api.md lacks", code)
			}
		}
	}
	if n < 15 {
		t.Errorf("%d codes in docs/troubleshooting.md: do they begin a row?", n)
	}
}

// The constant keycloak.Version and one sentence name the version of Keycloak.
// Whatever else named it would go stale with the next one.
func TestKeycloakVersionIsNamedOnce(t *testing.T) {
	const sentence = "docs/pulumi.md"
	files := []string{"README.md", "CONTRIBUTING.md"}
	for _, root := range []string{"docs", "api", "bench", "clients", "config", "dev", "e2e", "examples", "guardrails", "hardening", "internal", "modelctl", "policy", "realm", "roles", "users"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path == "docs/bench" || entry.Name() == "testdata" || entry.Name() == ".dev":
				return fs.SkipDir // docs/bench says what was measured
			case strings.HasSuffix(path, "_test.go") || path == "internal/keycloak/keycloak.go":
				// A test may say on which version something was measured.
			case strings.HasSuffix(path, ".md") || strings.HasSuffix(path, ".go"):
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(string(text), keycloak.Version)
		if want := map[bool]int{true: 1}[file == sentence]; n != want {
			t.Errorf("%s names Keycloak %s %d times, want %d: %s does so for all", file, keycloak.Version, n, want, sentence)
		}
	}
}

// docs/keys.md promises what each step of a rotation makes of the keys.
func TestDocumentedKeyRotation(t *testing.T) {
	const old, next = "test/es256-2026", "test/es256-2027"
	const ecdsa, rsa = "index/realmKeystoreEcdsaGenerated:RealmKeystoreEcdsaGenerated", "index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated"
	steps := stackFiles(t, "docs/keys.md")
	if len(steps) != 5 {
		t.Fatalf("docs/keys.md has %d steps, want 5", len(steps))
	}
	for i, want := range []struct{ old, next, rsa, own string }{
		{old: `{"active":true,"enabled":true}`},
		{old: `{"active":true,"enabled":true}`, next: `{"active":false,"enabled":true}`},
		{old: `{"active":false,"enabled":true}`, next: `{"active":true,"enabled":true}`},
		{old: `{"active":false,"enabled":false}`, next: `{"active":true,"enabled":true}`},
		{next: `{"active":true,"enabled":true}`, rsa: `{"active":true,"enabled":true}`, own: `{"priority":100,"keySize":2048,"active":false,"enabled":false}`},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			m, _, err := up(t, shown(t, steps[i]))
			if err != nil {
				t.Fatal(err)
			}
			m.inputs(t, "openid/client:Client", "api", `{"extraConfig":{"standard.token.exchange.enabled":"true",
				"access.token.signed.response.alg":"ES256","id.token.signed.response.alg":"ES256"}}`)
			keys := 0
			for _, key := range []struct{ typ, name, want string }{{ecdsa, old, want.old}, {ecdsa, next, want.next}, {rsa, "test/rs256-2027", want.rsa}, {rsa, "test/rsa-generated", want.own}} {
				if key.want == "" {
					continue
				}
				keys++
				r := m.inputs(t, key.typ, key.name, key.want)
				if !r.RPC.GetProtect() {
					t.Errorf("%s is not protected", key.name)
				}
				if key.name == "test/rsa-generated" {
					if id := r.RPC.GetImportId(); id != "test/0c2b6c1e-5f0a-4d57-9a39-8f6f1d2f6a11" {
						t.Errorf("%s is imported from %q", key.name, id)
					}
				}
			}
			if n := m.count("RealmKeystoreEcdsaGenerated") + m.count("RealmKeystoreRsaGenerated"); n != keys {
				t.Errorf("%d keys, want %d", n, keys)
			}
		})
	}
}

// The ESC environment sets keys that there are, all secrets of the production
// example among them.
func TestESCEnvironment(t *testing.T) {
	var env struct {
		Values struct {
			ClientSecrets    map[string]any    `yaml:"clientSecrets"`
			InitialPasswords map[string]any    `yaml:"initialPasswords"`
			PulumiConfig     map[string]string `yaml:"pulumiConfig"`
		}
	}
	readYAML(t, "examples/esc/models-prod.yaml", &env)
	known := projectDefaults(t)
	for key := range env.Values.PulumiConfig {
		if _, ok := known[key]; !ok && key != "keycloak:clientSecret" {
			t.Errorf("pulumiConfig sets %s, which nobody reads", key)
		}
	}
	var stack struct{ Config map[string]any }
	readYAML(t, "Pulumi.prod.example.yaml", &stack)
	clients, _ := stack.Config[project+":clients"].([]any)
	needed := 0
	for _, c := range clients {
		client := c.(map[string]any)
		if client["kind"] == "cli" || client["authentication"] == "jwt" {
			continue
		}
		needed++
		if _, ok := env.Values.ClientSecrets[fmt.Sprint(client["clientId"])]; !ok {
			t.Errorf("the secret of client %v is missing", client["clientId"])
		}
	}
	if needed == 0 || len(env.Values.InitialPasswords) == 0 {
		t.Error("there are no secrets to compare")
	}
}

// Each test that the threat model names stands in the folder that it names.
func TestThreatModel(t *testing.T) {
	text, err := os.ReadFile("docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	folder := regexp.MustCompile("`([a-z0-9/]+)` ")
	name := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasSuffix(line, "| test |") {
			continue
		}
		last := cells[len(cells)-1]
		places := folder.FindAllStringSubmatchIndex(last, -1)
		if len(cells) != 3 || len(places) == 0 {
			t.Errorf("no test in: %s", line)
		}
		for i, place := range places {
			end := len(last)
			if i+1 < len(places) {
				end = places[i+1][0]
			}
			sources := testSources(t, last[place[2]:place[3]])
			names := name.FindAllString(last[place[1]:end], -1)
			if len(names) == 0 {
				t.Errorf("a folder without a test in: %s", line)
			}
			for _, test := range names {
				n++
				if !strings.Contains(sources, "\nfunc "+test+"(") {
					t.Errorf("%s has no %s", last[place[2]:place[3]], test)
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("the document names %d tests: is it still read?", n)
	}
}

// Each test that the page about Redis names stands somewhere in the API, and each
// row of what happens without it names one.
func TestDocumentedOutagesOfRedis(t *testing.T) {
	text, err := os.ReadFile("docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("api/*")
	if err != nil {
		t.Fatal(err)
	}
	sources := testSources(t, "api")
	for _, folder := range folders {
		if files, _ := filepath.Glob(folder + "/*_test.go"); len(files) > 0 {
			sources += testSources(t, folder)
		}
	}
	_, after, _ := strings.Cut(string(text), "## While Redis is away")
	section, _, _ := strings.Cut(after, "\n## ")
	rows := 0
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasSuffix(line, "| test |\n") {
			continue
		}
		rows++
		names := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1)
		if len(names) == 0 {
			t.Errorf("no test in: %s", line)
		}
		for _, name := range names {
			if !strings.Contains(sources, "\nfunc "+name[1]+"(") {
				t.Errorf("there is no %s", name[1])
			}
		}
	}
	if rows < 10 {
		t.Errorf("%d rows: is the page still read?", rows)
	}
}

// testSources returns the text of the tests in a folder.
func testSources(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests (%v)", folder, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
