package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// A preview runs the whole program but the up, which needs a Keycloak.
func TestPreview(t *testing.T) {
	if _, err := exec.LookPath("pulumi"); err != nil {
		t.Skip("the Pulumi CLI is not on the PATH: the Automation API drives it")
	}
	project := t.TempDir()
	// A copy, so that the stack file is not made in the checkout.
	if out, err := exec.Command("git", "-C", "../..", "archive", "--format=tar", "-o", project+"/all.tar", "HEAD").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("tar", "-xf", project+"/all.tar", "-C", project).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PULUMI_BACKEND_URL", "file://"+t.TempDir())
	t.Setenv("PULUMI_CONFIG_PASSPHRASE", "a passphrase for this test")
	args := []string{"-dir", project, "-stack", "trial", "-config", project + "/Pulumi.staging.example.yaml", "-preview"}
	for range 2 { // the second finds the stack and its secrets
		var stdout, stderr bytes.Buffer
		if err := run(t.Context(), args, &stdout, &stderr); err != nil {
			t.Fatalf("%v\n%s", err, stdout.String())
		}
		if !strings.Contains(stdout.String(), "keycloak:openid:Client") {
			t.Errorf("no client in the preview:\n%s", stdout.String())
		}
	}
}

func TestWrongFlag(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), []string{"-nonsense"}, &stdout, &stderr); err == nil {
		t.Error("an unknown flag is taken")
	}
}
