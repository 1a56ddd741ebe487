package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"keycloak-model-api/config"
	"keycloak-model-api/internal/local"
	"keycloak-model-api/internal/monitor"
)

// Keys of the Keycloak provider's own configuration.
const (
	urlKey      = "keycloak:url"
	basePathKey = "keycloak:basePath"
)

// config is the stack's configuration as the Pulumi CLI would hand it to the
// program. A stack for development gets the secrets that it lacks.
func (p *program) config() (*monitor.Config, error) {
	c, err := monitor.LoadConfig(p.dir, p.stack, p.getenv)
	if err != nil {
		return nil, err
	}
	if c.Values[c.Project+":environment"] != "dev" {
		return c, nil
	}
	made, err := loadSecrets(filepath.Join(p.state, "secrets.json"))
	if err != nil {
		return nil, err
	}
	d := declaredIn(c, p.dir)
	if d.smtp.User != "" {
		c.AddSecret("smtpPassword", made.get("smtpPassword", d.smtp.User))
	}
	for key, names := range neededSecrets(d) {
		// What is no object of strings stays as it is: the program says what is
		// wrong with it.
		given, err := c.Object(key)
		if err != nil {
			continue
		}
		missing := map[string]string{}
		for _, name := range names {
			if given[name] == "" {
				missing[name] = made.get(key, name)
			}
		}
		if len(missing) == 0 {
			continue
		}
		if err := c.AddSecrets(key, missing); err != nil {
			return nil, err
		}
	}
	return c, made.save()
}

// declared is what the stack's configuration says of those who have secrets, and
// of models.
type declared struct {
	clients   []config.Client
	users     []config.User
	providers []config.IdentityProvider
	ldap      []config.LDAP
	models    []config.Model
	smtp      config.SMTP
}

// declaredIn reads the configuration loosely: the program, which runs in dir,
// validates it, and says what is wrong.
func declaredIn(c *monitor.Config, dir string) declared {
	var d declared
	_ = json.Unmarshal([]byte(c.Values[c.Project+":clients"]), &d.clients)
	_ = json.Unmarshal([]byte(c.Values[c.Project+":users"]), &d.users)
	_ = json.Unmarshal([]byte(c.Values[c.Project+":identityProviders"]), &d.providers)
	_ = json.Unmarshal([]byte(c.Values[c.Project+":ldap"]), &d.ldap)
	_ = json.Unmarshal([]byte(c.Values[c.Project+":models"]), &d.models)
	_ = json.Unmarshal([]byte(c.Values[c.Project+":smtp"]), &d.smtp)
	for i := range d.clients {
		d.clients[i] = d.clients[i].WithDefaults()
	}
	for i := range d.users {
		if d.users[i].Password == "" {
			d.users[i].Password = "temporary"
		}
	}
	if file := c.Values[c.Project+":usersFile"]; file != "" {
		d.users = append(d.users, config.ReadUsersFile(file, func(name string) ([]byte, error) {
			if !filepath.IsAbs(name) {
				name = filepath.Join(dir, name)
			}
			return os.ReadFile(name)
		})...)
	}
	return d
}

// neededSecrets are the names of those that the program asks for, by key.
func neededSecrets(d declared) map[string][]string {
	needed := map[string][]string{}
	for _, c := range d.clients {
		if !c.Public() && c.Authentication == "secret" {
			needed["clientSecrets"] = append(needed["clientSecrets"], c.ClientID)
		}
	}
	for _, u := range d.users {
		if u.Password != "none" {
			needed["initialPasswords"] = append(needed["initialPasswords"], u.Username)
		}
	}
	// These belong to others, so that a random one only serves to render and to
	// adopt. The right one has its place in the file that keeps it.
	for _, p := range d.providers {
		needed["federationSecrets"] = append(needed["federationSecrets"], p.Alias)
	}
	for _, l := range d.ldap {
		if l.BindDN != "" {
			needed["federationSecrets"] = append(needed["federationSecrets"], l.Name)
		}
	}
	return needed
}

// secrets are those that were made here, by key and name, and their file.
type secrets struct {
	path   string
	values map[string]map[string]string
	isNew  bool // something was added
}

func loadSecrets(path string) (*secrets, error) {
	s := &secrets{path: path, values: map[string]map[string]string{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	if err := json.Unmarshal(text, &s.values); err != nil || s.values == nil {
		return nil, fmt.Errorf("stack: %s does not hold secrets as JSON: delete it, and new ones are made", path)
	}
	return s, nil
}

// get returns a secret, which it makes if there is none yet.
func (s *secrets) get(key, name string) string {
	if s.values[key] == nil {
		s.values[key] = map[string]string{}
	}
	if s.values[key][name] == "" {
		// Upper and lower case, a digit and another character: what password
		// policies ask for, and the 256 bits of a service key.
		s.values[key][name] = rand.Text() + rand.Text() + "-a7"
		s.isNew = true
	}
	return s.values[key][name]
}

func (s *secrets) save() error {
	if !s.isNew {
		return nil
	}
	text, err := json.MarshalIndent(s.values, "", "  ")
	if err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	return writeFile(s.path, append(text, '\n'))
}

// writeFile writes a file that only its owner may read, whole or not at all.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	// CreateTemp gives mode 0600, and Rename keeps it.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	return nil
}

// usualAPI is where the API listens unless that port is taken. Redirect URIs
// in a stack's configuration that begin with it are the local API's.
const usualAPI = local.UsualAPI

// localize fits the configuration to the Keycloak and the API that run.
func (p *program) localize(c *monitor.Config) {
	c.Values[urlKey] = p.keycloakURL
	delete(c.Values, basePathKey) // the URL has it
	if p.local {
		delete(c.Values, c.Project+":publicUrl")
		delete(c.Values, c.Project+":frontendUrl")
	}
	clients, api := c.Project+":clients", c.Project+":apiUrl"
	c.Values[clients] = strings.ReplaceAll(c.Values[clients], usualAPI+"/", p.apiURL+"/")
	if c.Values[api] == usualAPI {
		c.Values[api] = p.apiURL
	}
}
