package keycloak

import (
	"strings"
	"testing"
)

func TestJavaVersion(t *testing.T) {
	tests := []struct {
		name, output string
		feature      int
		version      string
	}{
		{"OpenJDK 17 of Debian", "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)\n", 17, "17.0.15"},
		{"a release without updates", "openjdk version \"25\" 2025-09-16\n", 25, "25"},
		{"early access", "openjdk version \"27-ea\" 2026-09-15\n", 27, "27-ea"},
		{"Oracle", "java version \"21.0.2\" 2024-01-16 LTS\n", 21, "21.0.2"},
		{"before JEP 223 the second number counts", "java version \"1.8.0_392\"\nJava(TM) SE Runtime Environment\n", 8, "1.8.0_392"},
		{"options printed first", "Picked up _JAVA_OPTIONS: -Xmx1g\nopenjdk version \"11.0.22\" 2024-01-16\n", 11, "11.0.22"},
		{"no version", "Unable to locate a Java Runtime.\n", 0, ""},
		{"empty", "", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			feature, version, err := javaVersion(tt.output)
			if feature != tt.feature || version != tt.version || (err != nil) != (tt.feature == 0) {
				t.Errorf("got %d, %q, %v; want %d, %q", feature, version, err, tt.feature, tt.version)
			}
		})
	}
}

func TestCheckJava(t *testing.T) {
	tests := []struct {
		name, script, want string
	}{
		{"new enough", `echo 'openjdk version "17.0.1" 2021-10-19' >&2`, ""},
		{"too old names the version found", `echo 'openjdk version "11.0.22" 2024-01-16' >&2`, "is Java 11.0.22: install a Java runtime, 17 or newer"},
		{"the java of macOS that is none", `echo 'Unable to locate a Java Runtime.' >&2; exit 1`, "failed (exit status 1): install a Java runtime, 17 or newer"},
		{"something else called java", `echo hello`, "names no version: install a Java runtime, 17 or newer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			commands(t, map[string]string{"java": tt.script})
			wantError(t, checkJava(t.Context()), tt.want)
		})
	}
	t.Run("none", func(t *testing.T) {
		commands(t, nil)
		wantError(t, checkJava(t.Context()), "no Java found: install a Java runtime, 17 or newer")
	})
	t.Run("JAVA_HOME wins over the PATH, as in kc.sh", func(t *testing.T) {
		commands(t, map[string]string{"java": java17})
		t.Setenv("JAVA_HOME", t.TempDir())
		wantError(t, checkJava(t.Context()), "no Java found")
	})
}

const java17 = `echo 'openjdk version "17.0.15" 2025-04-15' >&2`

// commands makes the PATH one folder with these shell scripts and the basic
// tools that they use.
func commands(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		writeFile(t, dir, name, "#!/bin/sh\nPATH=/usr/bin:/bin\n"+script+"\n", 0o755)
	}
	t.Setenv("PATH", dir)
	t.Setenv("JAVA", "")
	t.Setenv("JAVA_HOME", "")
}

// wantError fails unless err has the text want, or is nil if that is "".
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error is %q, want one with %q", err, want)
	}
}
