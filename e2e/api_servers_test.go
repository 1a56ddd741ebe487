package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serversConfig has a model in each server of TestModelServers. Its %s are the URLs
// of MLflow's server, of that of embeddings, of KServe's and of Ray Serve.
const serversConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: servers
  keycloak-model-api:models:
    - {name: churn, protocol: paths, roles: [analysts], upstream: {url: '%s', paths: [POST /invocations]}}
    - {name: org/minilm, protocol: openai, roles: [analysts], allow: {actions: [embeddings, metadata]}, upstream: {url: '%s', model: all-MiniLM-L6-v2}}
    - {name: flowers, roles: [analysts], upstream: {url: '%s'}}
    - {name: shout, protocol: paths, roles: [analysts], upstream: {url: '%s', paths: [POST /shout]}}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [analysts]}
`

// TestModelServers puts the API in front of servers of others, all of one
// environment: MLflow's, one of embeddings with real weights, KServe's, Ray Serve.
func TestModelServers(t *testing.T) {
	environment, client := installPython(t, "servers"), installPython(t, "tritonclient")
	ran := filepath.Join(t.TempDir(), "ran")
	ray := launchRay(t, environment, ran) // alone, since it gives up on a start of half a minute
	port := freePort(t)
	mlflow := launch(t, "MLflow", port, python(t, environment, filepath.Join(environment, "bin", "mlflow"), "models", "serve",
		"--model-uri", testdata(t, "servers", "churn"), "--env-manager", "local", "--host", "127.0.0.1", "--port", port))
	port = freePort(t)
	embeddings := launch(t, "the server of embeddings", port, python(t, environment, testdata(t, "servers", "embeddings.py"), port))
	port = freePort(t)
	kserve := launch(t, "KServe", port, python(t, environment, testdata(t, "servers", "flowers.py"), port))
	mlflow.await(t, "/ping")
	embeddings.await(t, "/health")
	kserve.await(t, "/v2/health/ready")

	listed := recordTo(t, mlflow.URL)
	const password = "correct horse battery staple 4D"
	st := e.up(t, fmt.Sprintf(serversConfig, listed.URL, embeddings.URL, kserve.URL, ray.URL), secretsOf{
		"clientSecrets": {"model-api": "an-api-client-secret-of-the-tests"}, "initialPasswords": {"ada": password}})
	a := e.startAPI(t, st)
	ada := st.token(t, st.password("ada", password)).AccessToken

	t.Run("MLflow: what is listed", func(t *testing.T) { invokeMLflow(t, a, &api{URL: mlflow.URL}, ada) })
	t.Run("MLflow: what arrives of a request", func(t *testing.T) {
		r := request(t, http.MethodPost, a.URL+"/models/churn/invocations?subject=root", ada, `{"dataframe_records":[{"years":3}]}`)
		for _, name := range []string{"Cookie", "Forwarded", "Proxy-Authorization", "X-Forwarded-For", "X-Principal-Roles", "X-Principal-Subject", "X-Real-Ip"} {
			r.Header.Set(name, "smuggled=1")
		}
		r.Header.Set("Accept-Encoding", "identity")
		send(t, http.DefaultClient, r).want(t, http.StatusOK, "0.25")
		want := []string{"Accept-Encoding", "Content-Length", "Content-Type", "X-Principal-Client", "X-Principal-Issuer", "X-Principal-Subject", "X-Request-Id"}
		got := listed.last()
		if !slices.Equal(names(got.header), want) || strings.Contains(fmt.Sprint(got.header), "smuggled") || got.uri != "/invocations" {
			t.Errorf("%s arrives with %v, want the headers %v", got.uri, got.header, want)
		}
	})
	t.Run("MLflow: what is not listed", func(t *testing.T) {
		before := listed.count()
		for _, path := range []string{"ping", "health", "version", "docs", "openapi.json", "invocations/x", "Invocations"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				a.do(t, method, "/models/churn/"+path, ada, "").want(t, http.StatusNotFound, `"code":"not_found"`)
			}
		}
		for _, path := range []string{"invocations%2Fx", "invocations/", "invocations/../ping"} {
			a.do(t, http.MethodPost, "/models/churn/"+path, ada, "").want(t, http.StatusBadRequest, `"code":"path_not_canonical"`)
		}
		a.do(t, http.MethodGet, "/models/churn/invocations", ada, "").want(t, http.StatusNotFound, `"code":"not_found"`)
		a.do(t, http.MethodDelete, "/models/churn/invocations", ada, "").want(t, http.StatusNotFound, `"code":"not_found"`)
		a.do(t, http.MethodPost, "/v2/models/churn/infer", ada, irisRequest).want(t, http.StatusNotFound, `"code":"model_unknown"`)
		if after := listed.count(); after != before {
			t.Errorf("%d requests arrived at the server, the last is %s", after-before, listed.last().uri)
		}
	})
	t.Run("embeddings with real weights", func(t *testing.T) { embed(t, a, &api{URL: embeddings.URL}, ada) })
	t.Run("KServe: tritonclient", func(t *testing.T) { compareModes(t, client, kserve.URL, a.URL, ada, 6) })
	t.Run("KServe: JSON", func(t *testing.T) { inferKServe(t, a, &api{URL: kserve.URL}, ada) })
	t.Run("Ray Serve: a replica is killed under load", func(t *testing.T) { killReplica(t, a, ada, ran) })
}

// launchRay starts Ray Serve, whose replicas note in the file ran what they begin.
func launchRay(t *testing.T, environment, ran string) *program {
	t.Helper()
	port := freePort(t)
	// Ray's sockets are in here, and the path of a socket is short.
	temp, err := os.MkdirTemp("", "ray")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	command := python(t, environment, testdata(t, "servers", "shout.py"), port, ran)
	// Ray listens on every interface: only who has the token of this HOME may use it.
	command.Env = append(command.Env, "RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0", "RAY_TMPDIR="+temp)
	ray := launch(t, "Ray Serve", port, command)
	ray.await(t, "/shout")
	return ray
}

// invokeMLflow compares MLflow's answers through the API with those that it gives directly.
func invokeMLflow(t *testing.T, a, direct *api, token string) {
	for _, tt := range []struct {
		name, mediaType, body string
		status                int
		text                  string
	}{
		{"records", "application/json", `{"dataframe_records":[{"years":0},{"years":3}]}`, http.StatusOK, `{"predictions": [1.0, 0.25]}`},
		{"CSV", "text/csv", "years\n0\n1\n", http.StatusOK, `{"predictions": [1.0, 0.5]}`},
		{"a refusal of MLflow's", "application/json", `{"rows":[]}`, http.StatusBadRequest, `BAD_REQUEST`},
	} {
		ask := func(address, token string) answer {
			r := request(t, http.MethodPost, address, token, tt.body)
			r.Header.Set("Content-Type", tt.mediaType)
			return send(t, http.DefaultClient, r)
		}
		want, got := ask(direct.URL+"/invocations", ""), ask(a.URL+"/models/churn/invocations", token)
		got.want(t, tt.status, tt.text)
		if got.Body != want.Body || got.Header.Get("Content-Type") != want.Header.Get("Content-Type") {
			t.Errorf("%s: %s %s through the API, %s %s directly", tt.name, got.Header.Get("Content-Type"), got.Body, want.Header.Get("Content-Type"), want.Body)
		}
	}
}

// embed asks for embeddings, which mean something and are charged for.
func embed(t *testing.T, a, direct *api, token string) {
	const texts = `"input":["A cat sleeps on the sofa.","A kitten naps on the couch.","The central bank raised its interest rate."]}`
	got := a.do(t, http.MethodPost, "/v1/embeddings", token, `{"model":"org/minilm",`+texts)
	got.want(t, http.StatusOK, `"usage"`)
	if want := direct.do(t, http.MethodPost, "/v1/embeddings", "", `{"model":"all-MiniLM-L6-v2",`+texts); got.Body != want.Body {
		t.Errorf("through the API: %.200s\ndirectly: %.200s", got.Body, want.Body)
	}
	var list struct {
		Data  []struct{ Embedding []float64 }
		Usage struct {
			Tokens int `json:"prompt_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(got.Body), &list); err != nil || len(list.Data) != 3 || len(list.Data[0].Embedding) != 384 {
		t.Fatalf("%v: %d embeddings: %.200s", err, len(list.Data), got.Body)
	}
	similar := func(i, j int) (sum float64) {
		for k, x := range list.Data[i].Embedding {
			sum += x * list.Data[j].Embedding[k]
		}
		return sum
	}
	if cats, bank := similar(0, 1), similar(0, 2); cats < 0.5 || bank > 0.2 || math.Abs(similar(0, 0)-1) > 1e-3 {
		t.Errorf("the two cats are similar by %.2f, a cat and the bank by %.2f", cats, bank)
	}
	if usage := fmt.Sprintf(`"usage":{"input":%d`, list.Usage.Tokens); !strings.Contains(a.log.String(), usage) {
		t.Errorf("no audit record has %s", usage)
	}
	a.do(t, http.MethodGet, "/v1/models/org/minilm", token, "").want(t, http.StatusOK, `"id":"org/minilm"`)
	a.do(t, http.MethodPost, "/v1/chat/completions", token, `{"model":"org/minilm","messages":[]}`).want(t, http.StatusForbidden, `"code":"action_refused"`)
	for _, path := range []string{"/v1/embeddings/x", "/v1/files", "/v1/vector_stores", "/v1/fine_tuning/jobs", "/health", "/docs"} {
		a.do(t, http.MethodPost, path, token, `{"model":"org/minilm"}`).want(t, http.StatusNotFound, `"code":"not_found"`)
	}
}

// inferKServe compares what KServe says in JSON, refusals included.
func inferKServe(t *testing.T, a, direct *api, token string) {
	const two = `{"id":"two","inputs":[{"name":"input","shape":[2,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2,6.3,3.3,6.0,2.5]}]}`
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		text                     string
	}{
		{"metadata", http.MethodGet, "", "", http.StatusOK, `"shape":[-1,4]`},
		{"ready", http.MethodGet, "/ready", "", http.StatusOK, ""},
		{"inference", http.MethodPost, "/infer", two, http.StatusOK, `["setosa","virginica"]`},
		{"one of the outputs", http.MethodPost, "/infer", strings.Replace(two, `"inputs"`, `"outputs":[{"name":"species"}],"inputs"`, 1), http.StatusOK, `"setosa"`},
		{"a refusal by the model", http.MethodPost, "/infer", `{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP64","data":[5.1,3.5,1.4]}]}`, http.StatusBadRequest, `want [n, 4]`},
	} {
		path := "/v2/models/flowers" + tt.path
		want, got := direct.do(t, tt.method, path, "", tt.body), a.do(t, tt.method, path, token, tt.body)
		got.want(t, tt.status, tt.text)
		if got.Status != want.Status || got.Body != want.Body {
			t.Errorf("%s: %d %s through the API, %d %s directly", tt.name, got.Status, got.Body, want.Status, want.Body)
		}
	}
	a.do(t, http.MethodPost, "/v1/models/flowers:predict", token, two).want(t, http.StatusNotFound, `"code":`)
	a.do(t, http.MethodPost, "/v2/repository/models/flowers/unload", token, "").want(t, http.StatusNotFound, `"code":"not_found"`)
	// KServe itself lets everybody do that.
	direct.do(t, http.MethodPost, "/v2/repository/models/flowers/unload", "", "").want(t, http.StatusOK, "")
}

// killReplica kills one of Ray Serve's replicas while all of them work. Requests
// that this replica had taken may fail, and no other.
func killReplica(t *testing.T, a *api, token, ran string) {
	const callers, each = 8, 12
	var mu sync.Mutex
	answered, failed := map[string]int{}, map[string]string{} // replica to requests; text to what came instead
	victim := 0
	call := func(text string) {
		got := a.do(t, http.MethodPost, "/models/shout/shout", token, `{"text":"`+text+`"}`)
		var shout struct {
			Text    string
			Replica int
		}
		err := json.Unmarshal([]byte(got.Body), &shout)
		mu.Lock()
		defer mu.Unlock()
		if got.Status != http.StatusOK || err != nil || shout.Text != strings.ToUpper(text) {
			failed[text] = fmt.Sprintf("%d %s", got.Status, got.Body)
			return
		}
		answered[strconv.Itoa(shout.Replica)]++
		if victim == 0 && len(answered) == 3 {
			victim = shout.Replica
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				call(fmt.Sprintf("caller-%d-request-%d", caller, i))
			}
		})
	}
	wg.Wait()
	if victim == 0 {
		t.Fatalf("not every replica answered: %v", answered)
	}
	log, err := os.ReadFile(ran)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		replica, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if came := failed[text]; came != "" && replica != strconv.Itoa(victim) {
			t.Errorf("%s ran on another replica than the killed one, and is lost: %s", text, came)
		}
	}
	if len(failed) > 4 {
		t.Errorf("%d requests failed, and a replica takes 4 at once: %v", len(failed), failed)
	}
	if n := answered[strconv.Itoa(victim)]; n == callers*each-len(failed) {
		t.Error("no other replica went on")
	}
	eventually(t, time.Minute, "a new replica works", func() error {
		before := len(answered)
		if call("once more"); len(answered) == before {
			return fmt.Errorf("replicas answered %v, and the calls that failed are %v", answered, failed)
		}
		return nil
	})
	t.Logf("replicas answered %v, and %d requests died with one of them: %v", answered, len(failed), failed)
}
