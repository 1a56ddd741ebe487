package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keycloak-model-api/api/doctor"
	"keycloak-model-api/internal/local"
	"keycloak-model-api/internal/oidctest"
)

// The doctor, as its command, against a realm that lacks most of Keycloak.
func TestDoctorCommand(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack, _ := files(t, issuer)
	var out bytes.Buffer
	err := run(t.Context(), []string{"doctor", "-json", "-stack", stack}, func(string) string { return "" }, nil, &out, &out)
	var findings []doctor.Finding
	if jsonErr := json.Unmarshal(out.Bytes(), &findings); jsonErr != nil || len(findings) < 5 || findings[0].Check != "discovery" {
		t.Errorf("%v: %s", jsonErr, out.String())
	}
	if err == nil || exitCode(err) != 1 {
		t.Errorf("error %v", err)
	}
}

// Without -public-url it is the API that go run ./dev runs in this folder.
func TestDoctorOfTheAPIThatRunsHere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir(".dev", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := local.Announce("http://127.0.0.1:43210"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"doctor", "-h"}, os.Getenv, nil, &out, &out); err != nil || !strings.Contains(out.String(), "http://127.0.0.1:43210") {
		t.Errorf("the default of -public-url is another one: %v\n%s", err, out.String())
	}
}

func TestDoctorUsage(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack, _ := files(t, issuer)
	for _, args := range [][]string{
		{"-no-such-flag"}, {"argument"}, {"-stack", filepath.Join(t.TempDir(), "none.json")}, {"-clock-skew", "1h", "-stack", stack},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), append([]string{"doctor"}, args...), os.Getenv, nil, &out, &out); err == nil || exitCode(err) != 2 {
			t.Errorf("%q: error %v", args, err)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"doctor", "-h"}, os.Getenv, nil, &out, &out); err != nil || !strings.Contains(out.String(), "Exit status") {
		t.Errorf("help: %v %s", err, out.String())
	}
}
