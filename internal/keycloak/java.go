package keycloak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// checkJava returns nil if Keycloak's own start script finds a Java that is
// new enough: in $JAVA, then under $JAVA_HOME, then in the PATH.
func checkJava(ctx context.Context) error {
	path := os.Getenv("JAVA")
	if path == "" {
		path = "java"
		if home := os.Getenv("JAVA_HOME"); home != "" {
			path = filepath.Join(home, "bin", "java")
		}
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return fmt.Errorf("keycloak: no Java found: install a Java runtime, %d or newer (or set JAVA_HOME)", minJava)
	}
	// Java writes its version to standard error. macOS has a java of its own
	// that only says that there is none, and fails.
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("keycloak: %s -version failed (%w): install a Java runtime, %d or newer (or set JAVA_HOME)", path, err, minJava)
	}
	feature, version, err := javaVersion(string(out))
	if err != nil {
		return fmt.Errorf("keycloak: %s -version: %w: install a Java runtime, %d or newer (or set JAVA_HOME)", path, err, minJava)
	}
	if feature < minJava {
		return fmt.Errorf("keycloak: %s is Java %s: install a Java runtime, %d or newer (or set JAVA_HOME)", path, version, minJava)
	}
	return nil
}

// The version string of JEP 223 ("17.0.15"), and the older "1.8.0_392", whose
// feature release is the second number. The tools of some vendors print lines
// before it (_JAVA_OPTIONS does).
var javaVersionLine = regexp.MustCompile(`(?m)^\S+ version "((?:1\.)?(\d+)[^"]*)"`)

// javaVersion reads the output of java -version.
func javaVersion(output string) (feature int, version string, err error) {
	m := javaVersionLine.FindStringSubmatch(output)
	if m == nil {
		return 0, "", errors.New("its answer names no version")
	}
	feature, err = strconv.Atoi(m[2])
	return feature, m[1], err
}
