package keycloak

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/oauth2"

	"keycloak-model-api/internal/keycloak/progress"
)

// Options of one server.
type Options struct {
	// Distribution to start, from Fetch.
	Distribution *Distribution
	// DataDir holds what belongs to this server alone: its database, its admin's
	// credentials, its log. It is made if needed, with mode 0700. A container
	// begins with an empty database each time.
	DataDir string
	// ImportFile is a realm's export to import at the boot, as --import-realm
	// does: a realm of that name that exists is left as it is.
	ImportFile string
	// Progress is told how far the boot is; nil for silence.
	Progress io.Writer
}

// Server is a running Keycloak. It listens on 127.0.0.1 only.
type Server struct {
	// BaseURL without a slash at the end, as http://127.0.0.1:8080.
	BaseURL string
	// ManagementURL has the health endpoints.
	ManagementURL string
	// Admin is the service account to manage the server with.
	Admin Credentials
	// Console is the account for a person to log in to the admin console with.
	Console Credentials
	// LogFile has what Keycloak wrote since its start.
	LogFile string

	cmd       *exec.Cmd
	container string   // name of the container, if it is one
	boot      *os.File // lock on the home until the boot is over, or nil
	admin     *admin
	label     string
	progress  io.Writer
	stop      sync.Once
	stopping  chan struct{} // closed by Stop
	done      chan struct{}
	err       error // why it ended; to be read once done is closed
}

const (
	usualPort   = 8080 // of Keycloak, unless that is taken
	bootTimeout = 5 * time.Minute
	stopTimeout = 20 * time.Second

	// Names within DataDir. H2 adds .mv.db to the name of a database.
	adminFile  = "admin.json"
	lockFile   = "lock"
	logFile    = "keycloak.log"
	importDir  = "import"
	database   = "keycloak"
	databaseH2 = database + ".mv.db"

	// The working folder is DataDir, so its path needs no quoting here. VALUE
	// is a column of Keycloak's and a word of H2's; Keycloak closes the database
	// itself when it stops.
	databaseURL = "jdbc:h2:file:./" + database + ";NON_KEYWORDS=VALUE;DB_CLOSE_ON_EXIT=FALSE"

	// The quick compiler and the simplest collector: less memory, and a boot
	// that is a fifth faster. Keycloak's own options ask for G1, and two
	// collectors at once are an error.
	javaOptions = "-XX:TieredStopAtLevel=1 -XX:-UseG1GC -XX:+UseSerialGC"
)

// Start boots a Keycloak and returns once it answers requests, at most five
// minutes later. ctx ends the boot only; Stop ends the server, and on Linux so
// does the end of this process.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := Launch(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return nil, errors.Join(err, s.Stop(stopCtx))
	}
	return s, nil
}

// Launch is the first half of Start: the server runs and its URLs are known,
// but it doesn't answer yet. Ready is the second half.
func Launch(ctx context.Context, o Options) (*Server, error) {
	if o.Distribution == nil {
		return nil, errors.New("keycloak: Options.Distribution is missing: get one from Fetch")
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil || o.DataDir == "" {
		return nil, fmt.Errorf("keycloak: Options.DataDir %q is no folder", o.DataDir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keycloak: data folder: %w", err)
	}
	data, err := lockData(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer data.Close() // the server has it too, and keeps the lock
	admin, err := loadAdmin(dir)
	if err != nil {
		return nil, err
	}

	// The first boot builds the home, which only one may do at a time. Those
	// that follow are not faster side by side either, since they use all cores.
	// It also keeps two of them from choosing the same ports.
	var boot *os.File
	if home := o.Distribution.home; home != "" {
		boot, err = lock(ctx, filepath.Join(home, "boot.lock"), func() {
			fmt.Fprintln(o.Progress, "Waiting for another Keycloak that is starting")
		})
		if err != nil {
			return nil, err
		}
	}
	s, err := launch(o, dir, data, admin)
	if err != nil {
		boot.Close()
		return nil, err
	}
	s.boot, s.admin, s.progress = boot, admin, o.Progress
	s.label = "Starting Keycloak " + o.Distribution.version()
	if !admin.Booted {
		s.label += " (up to a minute the first time)"
	}
	return s, nil
}

// Ready returns once the server answers requests, at most five minutes later.
// It is called once. After an error the server has still to be stopped.
func (s *Server) Ready(ctx context.Context) error {
	defer s.boot.Close() // harmless where it is nil
	stop := progress.Start(s.progress, s.label, 0, nil)
	err := s.ready(ctx)
	stop()
	if err != nil {
		return err
	}
	if s.admin.Booted {
		return nil // a login takes seconds from a server that has just booted
	}
	if err := s.checkAdmin(ctx, s.cmd.Dir); err != nil {
		return err
	}
	s.admin.Booted = true
	return s.admin.save(s.cmd.Dir)
}

// version is for a person: who brings a home brings its version.
func (d *Distribution) version() string {
	if d.engine != "" || filepath.Base(d.home) == "keycloak-"+Version {
		return Version
	}
	return "of " + d.home
}

// lockData locks the data folder for one server. If that has lost the process
// that started it, it is about to end, and is waited for.
func lockData(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	waitCtx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var keycloak, starter int
	f, err := lock(waitCtx, path, func() {
		text, _ := os.ReadFile(path)
		fmt.Sscan(string(text), &keycloak, &starter)
		if starter != 0 && syscall.Kill(starter, 0) == nil {
			cancel()
		}
	})
	switch {
	case err == nil || ctx.Err() != nil || waitCtx.Err() == nil:
		return f, err
	case starter != 0 && syscall.Kill(starter, 0) == nil:
		return nil, fmt.Errorf("keycloak: %s is in use by another server: stop process %d, which started it, or use another data "+
			"folder", dir, starter)
	default:
		return nil, fmt.Errorf("keycloak: %s is in use by another server: stop process %d, or use another data folder", dir, keycloak)
	}
}

// launch starts the process and returns at once.
func launch(o Options, dir string, data *os.File, admin *admin) (*Server, error) {
	httpPort, err := ChoosePort(usualPort)
	if err != nil {
		return nil, err
	}
	if httpPort != strconv.Itoa(usualPort) {
		fmt.Fprintf(o.Progress, "Port %d is taken: Keycloak takes %s\n", usualPort, httpPort)
	}
	managementPort, err := ChoosePort(9000)
	if err != nil {
		return nil, err
	}
	s := &Server{
		BaseURL:       "http://127.0.0.1:" + httpPort,
		ManagementURL: "http://127.0.0.1:" + managementPort,
		Admin:         Credentials{ClientID: admin.ClientID, ClientSecret: admin.ClientSecret},
		Console:       Credentials{Username: admin.Username, Password: admin.Password},
		LogFile:       filepath.Join(dir, logFile),
		stopping:      make(chan struct{}),
		done:          make(chan struct{}),
	}
	imports, err := prepareImport(o, dir)
	if err != nil {
		return nil, err
	}
	if o.Distribution.engine != "" {
		s.container = "keycloak-model-api-" + strings.ToLower(rand.Text()[:8])
		args := []string{"run", "--rm", "--name", s.container,
			"-p", "127.0.0.1:" + httpPort + ":8080", "-p", "127.0.0.1:" + managementPort + ":9000"}
		for name := range bootEnv(admin) {
			args = append(args, "-e", name) // the value from the environment
		}
		if imports != "" {
			args = append(args, "-v", imports+":/opt/keycloak/data/import:ro,z")
		}
		args = append(args, image, "start-dev", "--health-enabled=true")
		if imports != "" {
			args = append(args, "--import-realm")
		}
		s.cmd = exec.Command(o.Distribution.engine, args...)
	} else {
		args := []string{"start-dev", "--health-enabled=true",
			"--http-host=127.0.0.1", "--http-port=" + httpPort,
			"--http-management-port=" + managementPort,
			"--db-url=" + databaseURL}
		if imports != "" {
			// What --import-realm sets, which knows only the home's own folder.
			args = append(args, "-Dkeycloak.migration.dir="+imports)
		}
		s.cmd = exec.Command(filepath.Join(o.Distribution.home, "bin", "kc.sh"), args...)
	}
	s.cmd.Dir = dir
	s.cmd.Env = environ(os.Environ(), bootEnv(admin))
	// A group of its own: Ctrl-C is ours to handle, and Stop reaches kc.sh and
	// the Java that it starts.
	s.cmd.SysProcAttr = processAttributes()
	// Keycloak inherits the lock on its data, so that the lock lives as long as
	// whoever has the database open. kc.sh uses descriptor 3 itself.
	s.cmd.ExtraFiles = []*os.File{nil, data}
	log, err := os.OpenFile(s.LogFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keycloak: log: %w", err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log

	started := make(chan error)
	go func() {
		// Linux sends the parent-death signal when the thread ends that started
		// the child, so this one stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("keycloak: start: %w", err)
	}
	// For the error of a second server on the same data.
	if err := data.Truncate(0); err == nil {
		fmt.Fprintf(data, "%d %d\n", s.cmd.Process.Pid, os.Getpid())
	}
	return s, nil
}

// prepareImport returns a folder with a copy of the file to import, or "".
func prepareImport(o Options, dir string) (string, error) {
	imports := filepath.Join(dir, importDir)
	if err := os.RemoveAll(imports); err != nil {
		return "", fmt.Errorf("keycloak: import: %w", err)
	}
	if o.ImportFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(o.ImportFile)
	if err != nil {
		return "", fmt.Errorf("keycloak: import: %w", err)
	}
	// A container reads it as another user, whatever the umask; dir is closed to
	// others.
	file := filepath.Join(imports, "realm.json")
	err = errors.Join(os.Mkdir(imports, 0o700), os.WriteFile(file, text, 0o600),
		os.Chmod(imports, 0o755), os.Chmod(file, 0o644))
	if err != nil {
		return "", fmt.Errorf("keycloak: import: %w", err)
	}
	return imports, nil
}

// bootEnv is what Keycloak gets by its environment: what must not be seen in a
// list of processes, and what kc.sh takes only there.
func bootEnv(a *admin) map[string]string {
	return map[string]string{
		"KC_BOOTSTRAP_ADMIN_USERNAME":      a.Username,
		"KC_BOOTSTRAP_ADMIN_PASSWORD":      a.Password,
		"KC_BOOTSTRAP_ADMIN_CLIENT_ID":     a.ClientID,
		"KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": a.ClientSecret,
		"JAVA_OPTS_APPEND":                 javaOptions,
		"KC_DEBUG":                         "false", // otherwise kc.sh reads DEBUG
	}
}

// environ is the environment with extra in it, without what would configure
// another Keycloak: the user's may have settings of one.
func environ(env []string, extra map[string]string) []string {
	var out []string
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case name == "JAVA_OPTS_APPEND":
			extra[name] += " " + value
		case !strings.HasPrefix(name, "KC_"):
			out = append(out, kv)
		}
	}
	for name, value := range extra {
		out = append(out, name+"="+value)
	}
	return out
}

// ChoosePort returns usual if nothing listens on it, otherwise a free port.
func ChoosePort(usual int) (string, error) {
	// The second address finds a server that listens on all of them, which
	// macOS doesn't hold against one that listens on 127.0.0.1.
	if portFree("127.0.0.1", usual) && portFree("", usual) {
		return strconv.Itoa(usual), nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("keycloak: no free port: %w", err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

func portFree(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// ready waits until the health endpoint says so. An open port says less:
// requests get a 503 until the realms are there.
func (s *Server) ready(ctx context.Context) error {
	bootCtx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-s.done:
			return s.err
		case <-bootCtx.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("keycloak: not ready after %s; its log ends with:\n%s", bootTimeout, s.logTail())
		case <-poll.C:
		}
		req, err := http.NewRequestWithContext(bootCtx, http.MethodGet, s.ManagementURL+"/health/ready", nil)
		if err != nil {
			return fmt.Errorf("keycloak: health: %w", err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue // not yet
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// checkAdmin tells that the database knows the admin that we know. Keycloak
// ignores a first admin without a word if it has had one.
func (s *Server) checkAdmin(ctx context.Context, dir string) error {
	_, err := NewAdmin(s.BaseURL, s.Admin).Token(ctx)
	if _, refused := errors.AsType[*oauth2.RetrieveError](err); refused {
		return fmt.Errorf("keycloak: the database in %s refuses the admin of its %s: delete the folder %s and start again", dir,
			adminFile, dir)
	}
	return err
}

// wait runs until the process has ended, and leaves nothing of its group.
func (s *Server) wait() {
	err := s.cmd.Wait()
	// kc.sh ends after its Java, unless it was killed itself. Then the Java is
	// no child of ours to wait for, but the lock comes free with its end.
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if f, err := lock(ctx, filepath.Join(s.cmd.Dir, lockFile), nil); err == nil {
		f.Close()
	}
	select {
	case <-s.stopping:
	default:
		reason := "exit status 0"
		if err != nil {
			reason = err.Error()
		}
		s.err = fmt.Errorf("keycloak: ended by itself (%s); its log ends with:\n%s", reason, s.logTail())
	}
	close(s.done)
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns nil while the server runs and after Stop, otherwise why it ended,
// with the last lines of its log.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Container tells that the server runs in a container, whose database ends with
// it.
func (s *Server) Container() bool { return s.container != "" }

// Stop ends the server and returns when no process of it is left. Keycloak gets
// until the end of ctx, 20 seconds at most, to do it by itself.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() { close(s.stopping) })
	s.boot.Close()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	select {
	case <-s.done:
		return nil // its process id may be another's by now
	default:
	}
	group := -s.cmd.Process.Pid
	syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	syscall.Kill(group, syscall.SIGKILL)
	if s.container != "" {
		// The client is dead, its container is not.
		if out, err := exec.Command(s.cmd.Path, "rm", "-f", s.container).CombinedOutput(); err != nil {
			return fmt.Errorf("keycloak: %s rm -f %s: %w: %s", s.cmd.Path, s.container, err, out)
		}
	}
	<-s.done
	return nil
}

// logTail returns the last lines that Keycloak wrote.
func (s *Server) logTail() string {
	const lines, size = 20, 8 << 10
	f, err := os.Open(s.LogFile)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		f.Seek(max(0, info.Size()-size), io.SeekStart)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// admin is the content of adminFile: the accounts that the first boot makes.
type admin struct {
	Username     string `json:"username"`
	Password     string `json:"password"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	// Booted is set once a boot has made the database. One that hasn't may have
	// left half of its tables.
	Booted bool `json:"booted"`
}

// loadAdmin reads the accounts, or makes them if the data folder is new.
func loadAdmin(dir string) (*admin, error) {
	_, err := os.Stat(filepath.Join(dir, databaseH2))
	hasDatabase := err == nil
	text, err := os.ReadFile(filepath.Join(dir, adminFile))
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("keycloak: %w", err)
	case hasDatabase:
		return nil, fmt.Errorf("keycloak: %s has a database, but its %s is gone, which names the admin: delete the folder %s and start "+
			"again", dir, adminFile, dir)
	default:
		a := &admin{Username: "admin", Password: rand.Text(), ClientID: "keycloak-model-api-admin", ClientSecret: rand.Text()}
		return a, a.save(dir)
	}
	var a admin
	if err := json.Unmarshal(text, &a); err != nil || slices.Contains([]string{a.ClientID, a.ClientSecret, a.Username, a.Password}, "") {
		return nil, fmt.Errorf("keycloak: %s in %s is unreadable: delete the folder %s and start again", adminFile, dir, dir)
	}
	if hasDatabase && !a.Booted {
		if err := os.Remove(filepath.Join(dir, databaseH2)); err != nil {
			return nil, fmt.Errorf("keycloak: unfinished database: %w", err)
		}
	}
	return &a, nil
}

func (a *admin) save(dir string) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("keycloak: %w", err)
	}
	path := filepath.Join(dir, adminFile)
	err = errors.Join(os.WriteFile(path+".new", append(text, '\n'), 0o600), os.Rename(path+".new", path))
	if err != nil {
		return fmt.Errorf("keycloak: %w", err)
	}
	return nil
}
