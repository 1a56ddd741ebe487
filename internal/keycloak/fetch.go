package keycloak

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"keycloak-model-api/internal/keycloak/progress"
)

// FetchOptions says where a Keycloak is looked for.
type FetchOptions struct {
	// Home is an unpacked Keycloak to use as it is (KEYCLOAK_HOME). It must be
	// writable, since Keycloak writes its build there. Empty: the one in
	// CacheDir, which is fetched if it isn't there yet.
	Home string
	// CacheDir is where a fetched Keycloak is kept for all checkouts. Empty:
	// keycloak-model-api in the user's cache folder.
	CacheDir string
	// Progress is told how far the download is; nil for silence.
	Progress io.Writer
}

// Distribution is a Keycloak that can be started on this computer: an unpacked
// one, or a container image where Maven or Java is missing.
type Distribution struct {
	home   string // folder of an unpacked Keycloak, or
	engine string // path of docker or podman
}

// String says what it is, for a person.
func (d *Distribution) String() string {
	if d.engine != "" {
		return image + " in " + filepath.Base(d.engine)
	}
	return d.home
}

// Fetch finds a Keycloak to start, and downloads it if there is none. What is
// missing for that (Java, Maven) is said in one sentence.
func Fetch(ctx context.Context, o FetchOptions) (*Distribution, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Home != "" {
		if _, err := os.Stat(filepath.Join(o.Home, "bin", "kc.sh")); err != nil {
			return nil, fmt.Errorf("keycloak: KEYCLOAK_HOME %s is no unpacked Keycloak: it has no bin/kc.sh", o.Home)
		}
		home, err := filepath.Abs(o.Home)
		if err != nil {
			return nil, fmt.Errorf("keycloak: KEYCLOAK_HOME: %w", err)
		}
		if err := checkJava(ctx); err != nil {
			return nil, err
		}
		return &Distribution{home: home}, nil
	}
	if o.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("keycloak: no cache folder: %w", err)
		}
		o.CacheDir = filepath.Join(dir, "keycloak-model-api")
	}
	home := filepath.Join(o.CacheDir, "keycloak-"+Version)
	missing := checkJava(ctx)
	if missing == nil {
		if isDir(home) {
			return &Distribution{home: home}, nil
		}
		mvn, err := exec.LookPath("mvn")
		if err == nil {
			if err := install(ctx, o, mvn, home); err != nil {
				return nil, err
			}
			return &Distribution{home: home}, nil
		}
		missing = errors.New("keycloak: no Maven (mvn) found, which fetches Keycloak: install Maven, or set KEYCLOAK_HOME to an " +
			"unpacked Keycloak " + Version)
	}
	if engine := containerEngine(ctx); engine != "" {
		if err := pull(ctx, engine, o.Progress); err != nil {
			return nil, err
		}
		return &Distribution{engine: engine}, nil
	}
	return nil, missing
}

// containerEngine returns the path of docker or podman if its engine answers,
// otherwise "": a client alone starts nothing.
func containerEngine(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for _, name := range []string{"docker", "podman"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(ctx, path, "info").Run() == nil {
			return path
		}
	}
	return ""
}

// pull gets the image if the engine doesn't have it. The engine shows its own
// progress.
func pull(ctx context.Context, engine string, w io.Writer) error {
	if exec.CommandContext(ctx, engine, "image", "inspect", image).Run() == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, engine, "pull", image)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("keycloak: %s pull %s: %w", engine, image, err)
	}
	return nil
}

// install downloads, checks and unpacks Keycloak into home. Two processes may
// do it at once: the second waits, and finds it done.
func install(ctx context.Context, o FetchOptions, mvn, home string) error {
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return fmt.Errorf("keycloak: cache: %w", err)
	}
	l, err := lock(ctx, home+".lock", func() {
		fmt.Fprintln(o.Progress, "Waiting for another process that fetches Keycloak")
	})
	if err != nil {
		return err
	}
	defer l.Close()
	if isDir(home) {
		return nil
	}
	// What a killed process has left; nobody uses it while we have the lock.
	left, err := filepath.Glob(home + ".new-*")
	if err != nil {
		return fmt.Errorf("keycloak: cache: %w", err)
	}
	for _, dir := range left {
		os.RemoveAll(dir)
	}
	tmp, err := os.MkdirTemp(o.CacheDir, filepath.Base(home)+".new-")
	if err != nil {
		return fmt.Errorf("keycloak: cache: %w", err)
	}
	defer os.RemoveAll(tmp)

	repository, err := download(ctx, mvn, tmp, o.Progress)
	if err != nil {
		return err
	}
	archive := filepath.Join(tmp, archiveName)
	if err := verify(archive, archiveSHA256); err != nil {
		// Maven would hand out the same file again and again.
		os.RemoveAll(artifactDir(repository))
		return err
	}
	unpacked := filepath.Join(tmp, "home")
	if err := unpackWithProgress(ctx, archive, unpacked, o.Progress); err != nil {
		return err
	}
	if err := os.Rename(unpacked, home); err != nil {
		return fmt.Errorf("keycloak: cache: %w", err)
	}
	return nil
}

// artifactDir is where Maven keeps the distribution in its local repository.
func artifactDir(repository string) string {
	return filepath.Join(repository, "org", "keycloak", "keycloak-quarkus-dist", Version)
}

// download has Maven copy the distribution into dir, so that the user's mirrors
// and proxies hold, and returns the folder of Maven's local repository.
func download(ctx context.Context, mvn, dir string, w io.Writer) (repository string, err error) {
	// -X since Maven then tells where its local repository is. It downloads
	// into that, which is the only way to see how far it is.
	cmd := exec.CommandContext(ctx, mvn, "-B", "-X", "dependency:copy",
		"-Dartifact="+coordinate, "-DoutputDirectory="+dir)
	cmd.Dir = dir // no project of the user's
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("keycloak: mvn: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("keycloak: mvn: %w", err)
	}

	var where atomic.Value // string: artifactDir, once it is known
	stop := progress.Start(w, "Downloading Keycloak "+Version+" with Maven", archiveSize, func() int64 {
		dir, _ := where.Load().(string)
		return largestFile(dir)
	})
	var failures []string
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if _, path, ok := strings.Cut(line, "Using local repository at "); ok {
			repository = strings.TrimSpace(path)
			where.Store(artifactDir(repository))
		}
		if _, text, ok := strings.Cut(line, "[ERROR] "); ok && len(failures) < 5 {
			failures = append(failures, text)
		}
	}
	// A line longer than the buffer ends the scan; Maven must not block on it.
	io.Copy(io.Discard, out)
	err = cmd.Wait()
	stop()
	if ctx.Err() != nil {
		return repository, ctx.Err()
	}
	if err != nil && unreachable(failures) {
		return repository, fmt.Errorf("keycloak: Maven can't reach its repository to fetch Keycloak %s: connect this computer to the "+
			"network, name a mirror or proxy in Maven's settings.xml, or set KEYCLOAK_HOME to an unpacked Keycloak", Version)
	}
	if err != nil {
		return repository, fmt.Errorf("keycloak: mvn could not fetch %s (%w): %s", coordinate, err, strings.Join(failures, "\n"))
	}
	return repository, nil
}

// unreachable tells whether Maven's errors come from the network. Without its
// repository Maven doesn't know its own plugins either.
func unreachable(failures []string) bool {
	return slices.ContainsFunc(failures, func(text string) bool {
		return slices.ContainsFunc([]string{
			"Unknown host", "UnknownHostException", "Name or service not known", "Temporary failure in name resolution",
			"No route to host", "Network is unreachable", "Connection refused", "Connect timed out", "connect timed out", "Connection " +
				"timed out",
			"No plugin found for prefix 'dependency'", "in offline mode",
		}, func(sign string) bool { return strings.Contains(text, sign) })
	})
}

// largestFile returns the size of the largest file in dir, 0 if there is none:
// the name of Maven's partial file differs between its versions.
func largestFile(dir string) int64 {
	var largest int64
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			largest = max(largest, info.Size())
		}
	}
	return largest
}

// verify refuses a file whose SHA-256 isn't want, and removes it.
func verify(path, want string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keycloak: mvn reported success but left no %s", filepath.Base(path))
	}
	if err != nil {
		return fmt.Errorf("keycloak: download: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("keycloak: download: %w", err)
	}
	sum, err := hex.DecodeString(want)
	if err != nil {
		return fmt.Errorf("keycloak: pinned checksum: %w", err)
	}
	if got := h.Sum(nil); !bytes.Equal(got, sum) {
		os.Remove(path)
		return fmt.Errorf("keycloak: %s is not what was pinned: SHA-256 %x of %d bytes, expected %s; it was removed, try again",
			filepath.Base(path), got, n, want)
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
