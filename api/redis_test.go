package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keycloak-model-api/api/doctor"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/internal/redistest"
)

// redisKeys writes a file with a key.
func redisKeys(t *testing.T) string {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	path := filepath.Join(t.TempDir(), "redis-keys")
	if err := os.WriteFile(path, []byte("k1 "+base64.StdEncoding.EncodeToString(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRedisConfiguration(t *testing.T) {
	keys := redisKeys(t)
	for _, row := range []struct {
		name string
		args []string
		env  map[string]string
		want string // of the error; empty for none
	}{
		{"both", []string{"-redis", "rediss://api@redis.example.com", "-redis-keys", keys}, nil, ""},
		{"the URL in the environment may have the password", []string{"-redis-keys", keys}, map[string]string{"API_REDIS": "rediss://api:hunter2@redis.example.com"}, ""},
		{"a flag must not: ps shows it to everybody", []string{"-redis", "rediss://api:hunter2@redis.example.com", "-redis-keys", keys}, nil, "API_REDIS_PASSWORD"},
		{"nor a URL that can't be read", []string{"-redis", "rediss://api:hunter2@a:b:c", "-redis-keys", keys}, nil, "API_REDIS_PASSWORD"},
		{"no keys", []string{"-redis", "redis://localhost"}, nil, "give both"},
		{"no Redis", []string{"-redis-keys", keys}, nil, "give both"},
		{"limits without it", []string{"-limits-without-redis", "closed"}, nil, ""},
		{"limits without it, but how", []string{"-limits-without-redis", "deny"}, nil, "neither open nor closed nor local"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := parseConfig(row.args, func(name string) string { return row.env[name] })
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error has the password in it: %v", err)
			}
		})
	}
}

// A Redis that can't be used keeps the API from starting, and the doctor says the
// same.
func TestRedisAtTheStart(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack, _ := files(t, issuer)
	keys, evicts := redisKeys(t), redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	noEnv := func(string) string { return "" }
	for _, row := range []struct {
		name, redis, keys string
		exit              int
		want              string
	}{
		{"eviction un-revokes", evicts.URL(), keys, 1, "set maxmemory-policy noeviction"},
		{"nobody answers", "unix:///nowhere/redis.sock", keys, 1, "redis can't be used"},
		{"no such file", evicts.URL(), "/nowhere", 2, "-redis-keys"},
		{"no URL", "http://localhost", keys, 2, "no URL of Redis"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), []string{"-listen", "127.0.0.1:0", "-stack", stack, "-redis", row.redis, "-redis-keys", row.keys}, noEnv, nil, &out, &out)
			if err == nil || exitCode(err) != row.exit || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
			err = run(t.Context(), []string{"doctor", "-json", "-stack", stack, "-redis", row.redis, "-redis-keys", row.keys}, noEnv, nil, &out, &out)
			if err == nil || exitCode(err) != row.exit || !strings.Contains(err.Error()+out.String(), row.want) {
				t.Errorf("doctor: %v, want %q\n%s", err, row.want, out.String())
			}
		})
	}

	good := redistest.Start(t)
	g := start(t, issuer, testPolicy(), "-admin-listen", ":0", "-redis", good.URL(), "-redis-keys", keys)
	r, err := http.NewRequest("GET", "http://"+g.address("operators' listener")+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, body := send(t, r); !strings.Contains(body, "model_api_redis_up 1\n") {
		t.Error("no model_api_redis_up in the metrics")
	}
	var out bytes.Buffer
	_ = run(t.Context(), []string{"doctor", "-json", "-stack", stack, "-redis", good.URL(), "-redis-keys", keys}, noEnv, nil, &out, &out)
	var findings []doctor.Finding
	if err := json.Unmarshal(out.Bytes(), &findings); err != nil || findings[len(findings)-1].Check != "redis" || findings[len(findings)-1].Level != "ok" {
		t.Errorf("doctor: %v\n%s", err, out.String())
	}
}
