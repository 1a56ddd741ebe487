package hardening

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Strict must not be looser than baseline in any line.
func TestStrictIsStricter(t *testing.T) {
	b, s := Of("baseline"), Of("strict")
	for _, tt := range []struct {
		name        string
		strict, not time.Duration
	}{
		{"access token", s.AccessToken, b.AccessToken},
		{"idle session", s.SSOIdle, b.SSOIdle},
		{"session", s.SSOMax, b.SSOMax},
		{"idle offline session", s.OfflineIdle, b.OfflineIdle},
		{"offline session", s.OfflineMax, b.OfflineMax},
		{"device code", s.DeviceCode, b.DeviceCode},
		{"authorization code", s.AuthorizationCode, b.AuthorizationCode},
		{"wait after failures", b.BruteForce.WaitIncrement, s.BruteForce.WaitIncrement},
		{"events", b.KeepEvents, s.KeepEvents},
	} {
		if tt.strict > tt.not || tt.strict == 0 {
			t.Errorf("%s: %v against %v", tt.name, tt.strict, tt.not)
		}
	}
	if s.PasswordLength < b.PasswordLength || s.BruteForce.MaxLoginFailures > b.BruteForce.MaxLoginFailures {
		t.Error("strict takes shorter passwords or more failures")
	}
	bv, sv := reflect.ValueOf(b), reflect.ValueOf(s)
	for i := range bv.NumField() {
		if bv.Field(i).Kind() == reflect.Bool && bv.Field(i).Bool() && !sv.Field(i).Bool() {
			t.Errorf("baseline has %s, strict has not", bv.Type().Field(i).Name)
		}
	}
	o := Of("off")
	if o.AccessToken != 5*time.Minute || o.SSOIdle != 30*time.Minute || o.SSOMax != 10*time.Hour {
		t.Errorf("off does not go back to Keycloak's own lifetimes: %+v", o)
	}
	o.AccessToken, o.SSOIdle, o.SSOMax, o.OfflineIdle, o.DeviceCode, o.AuthorizationCode = 0, 0, 0, 0, 0, 0
	if o != (Level{}) {
		t.Errorf("off sets more than lifetimes: %+v", o)
	}
}

// A line of which nobody makes anything would be a promise only.
func TestEachLineIsApplied(t *testing.T) {
	var sources []byte
	for _, pattern := range []string{"../realm/*.go", "../config/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, text...)
		}
	}
	level := reflect.TypeFor[Level]()
	for i := range level.NumField() {
		if name := level.Field(i).Name; !regexp.MustCompile(`\.` + name + `\b`).Match(sources) {
			t.Errorf("neither realm nor config reads Level.%s", name)
		}
	}
}
