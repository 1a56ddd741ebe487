package deploy

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// cluster is what an overlay makes.
type cluster struct {
	accounts    []core.ServiceAccount
	deployments []apps.Deployment
	services    []core.Service
	policies    []networking.NetworkPolicy
	routes      []gateway.HTTPRoute
	budgets     []disruption.PodDisruptionBudget
	scalers     []autoscaling.HorizontalPodAutoscaler
	monitors    []monitoring.ServiceMonitor
}

// build renders an overlay as `kustomize build` does, and reads each object into its
// type: a member that Kubernetes doesn't know is an error.
func build(t *testing.T, overlay string) *cluster {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch r.GetKind() {
		case "ServiceAccount":
			c.accounts = append(c.accounts, decoded[core.ServiceAccount](t, text))
		case "Deployment":
			c.deployments = append(c.deployments, decoded[apps.Deployment](t, text))
		case "Service":
			c.services = append(c.services, decoded[core.Service](t, text))
		case "NetworkPolicy":
			c.policies = append(c.policies, decoded[networking.NetworkPolicy](t, text))
		case "HTTPRoute":
			c.routes = append(c.routes, decoded[gateway.HTTPRoute](t, text))
		case "PodDisruptionBudget":
			c.budgets = append(c.budgets, decoded[disruption.PodDisruptionBudget](t, text))
		case "HorizontalPodAutoscaler":
			c.scalers = append(c.scalers, decoded[autoscaling.HorizontalPodAutoscaler](t, text))
		case "ServiceMonitor":
			c.monitors = append(c.monitors, decoded[monitoring.ServiceMonitor](t, text))
		default:
			t.Fatalf("a %s is read by no row here", r.GetKind())
		}
	}
	if len(c.deployments) != 1 || len(c.services) != 1 {
		t.Fatalf("%d deployments and %d services, not one of each", len(c.deployments), len(c.services))
	}
	return c
}

func decoded[T any](t *testing.T, text []byte) T {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict(text, &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

func overlays() []string { return []string{"kubernetes/overlays/dev", "kubernetes/overlays/prod"} }

// TestPodsAreRestricted holds each pod to the "restricted" Pod Security Standard
// (kubernetes.io/docs/concepts/security/pod-security-standards) and to a root file
// system that can't be written.
func TestPodsAreRestricted(t *testing.T) {
	for _, overlay := range overlays() {
		pod := build(t, overlay).deployments[0].Spec.Template.Spec
		if s := pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
			s.SeccompProfile == nil || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: the pod's security context is %+v", overlay, s)
		}
		if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
			t.Errorf("%s: the pod gets a token of the cluster", overlay)
		}
		if pod.HostNetwork || pod.HostPID || pod.HostIPC {
			t.Errorf("%s: the pod shares the host", overlay)
		}
		for _, container := range pod.Containers {
			s := container.SecurityContext
			if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
				s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
				t.Errorf("%s: %s: the security context is %+v", overlay, container.Name, s)
			}
			if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s: %s has no bound of memory, or no request of CPU", overlay, container.Name)
			}
			if container.StartupProbe == nil || container.ReadinessProbe == nil || container.LivenessProbe == nil {
				t.Errorf("%s: %s lacks a probe", overlay, container.Name)
			}
		}
	}
}

// TestSelectorsMeetThePods: a selector without labels selects every pod of the
// namespace, and one with a typo none.
func TestSelectorsMeetThePods(t *testing.T) {
	for _, overlay := range overlays() {
		c := build(t, overlay)
		d := c.deployments[0]
		pods := labels.Set(d.Spec.Template.Labels)
		check := func(what string, s *meta.LabelSelector) {
			t.Helper()
			selector, err := meta.LabelSelectorAsSelector(s)
			if err != nil || selector.Empty() || !selector.Matches(pods) {
				t.Errorf("%s: %s selects %q, and the pods are %v (%v)", overlay, what, selector, pods, err)
			}
		}
		check("the deployment", d.Spec.Selector)
		for _, p := range c.policies {
			check("a network policy", &p.Spec.PodSelector)
		}
		for _, b := range c.budgets {
			check("a disruption budget", b.Spec.Selector)
		}
		for _, s := range d.Spec.Template.Spec.TopologySpreadConstraints {
			check("a spread", s.LabelSelector)
		}
		check("the service", &meta.LabelSelector{MatchLabels: c.services[0].Spec.Selector})
		for _, m := range c.monitors {
			selector, err := meta.LabelSelectorAsSelector(&m.Spec.Selector)
			if err != nil || selector.Empty() || !selector.Matches(labels.Set(c.services[0].Labels)) {
				t.Errorf("%s: a monitor selects %q, and the service is %v (%v)", overlay, selector, c.services[0].Labels, err)
			}
			for _, e := range m.Spec.Endpoints {
				if !slices.ContainsFunc(c.services[0].Spec.Ports, func(p core.ServicePort) bool { return p.Name == e.Port }) {
					t.Errorf("%s: a monitor asks port %q, which the service lacks", overlay, e.Port)
				}
			}
		}
	}
}

// TestNamesAreThere: what one object says of another by name exists.
func TestNamesAreThere(t *testing.T) {
	for _, overlay := range overlays() {
		c := build(t, overlay)
		d, service := c.deployments[0], c.services[0]
		if len(c.accounts) != 1 || c.accounts[0].Name != d.Spec.Template.Spec.ServiceAccountName {
			t.Errorf("%s: there is no service account %q", overlay, d.Spec.Template.Spec.ServiceAccountName)
		}
		ports := map[string]bool{}
		for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
			ports[p.Name] = true
		}
		for _, p := range service.Spec.Ports {
			if !ports[p.TargetPort.String()] {
				t.Errorf("%s: the service wants the port %s of the pods", overlay, p.TargetPort.String())
			}
		}
		for _, s := range c.scalers {
			if s.Spec.ScaleTargetRef.Name != d.Name {
				t.Errorf("%s: a scaler scales %q", overlay, s.Spec.ScaleTargetRef.Name)
			}
			// Otherwise each apply sets the number back.
			if d.Spec.Replicas != nil {
				t.Errorf("%s: both the deployment and a scaler say how many replicas there are", overlay)
			}
		}
		for _, r := range c.routes {
			for _, rule := range r.Spec.Rules {
				for _, b := range rule.BackendRefs {
					if string(b.Name) != service.Name || int32(*b.Port) != service.Spec.Ports[0].Port {
						t.Errorf("%s: a route goes to %s:%d", overlay, b.Name, *b.Port)
					}
				}
			}
		}
	}
}

// TestPublicRoute: what the issuer, a proxy or an operator calls is not public.
func TestPublicRoute(t *testing.T) {
	routes := build(t, "kubernetes/overlays/prod").routes
	if len(routes) != 1 {
		t.Fatalf("%d routes", len(routes))
	}
	public := func(path string) bool {
		for _, rule := range routes[0].Spec.Rules {
			for _, m := range rule.Matches {
				value := *m.Path.Value
				if path == value || *m.Path.Type == gateway.PathMatchPathPrefix && strings.HasPrefix(path, strings.TrimSuffix(value, "/")+"/") {
					return true
				}
			}
		}
		return false
	}
	for path, want := range map[string]bool{
		"/v1/chat/completions": true, "/v2/models/iris/infer": true, "/": true, "/callback": true,
		"/.well-known/oauth-protected-resource": true,
		"/admin/k_logout":                       false, "/admin/k_push_not_before": false, "/backchannel-logout": false,
		"/authorize": false, "/metrics": false, "/healthz": false, "/readyz": false,
	} {
		if public(path) != want {
			t.Errorf("public(%q) is %v", path, !want)
		}
	}
}

// TestSettingsExist: a variable that the API doesn't read would be without effect.
func TestSettingsExist(t *testing.T) {
	source, err := os.ReadFile("../api/config.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("`flag:\"([a-z-]+)\"").FindAllStringSubmatch(string(source), -1) {
		known["API_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_"))] = true
	}
	if len(known) < 10 {
		t.Fatalf("only %d flags were found", len(known))
	}
	for _, overlay := range overlays() {
		for _, v := range build(t, overlay).deployments[0].Spec.Template.Spec.Containers[0].Env {
			if !known[v.Name] {
				t.Errorf("%s: the API doesn't read %s", overlay, v.Name)
			}
		}
	}
}

// TestStopIsLongEnough: Kubernetes kills what still runs after the grace period.
func TestStopIsLongEnough(t *testing.T) {
	pod := build(t, "kubernetes/overlays/prod").deployments[0].Spec.Template.Spec
	var bound int64
	for _, v := range pod.Containers[0].Env {
		if v.Name == "API_DRAIN_DELAY" || v.Name == "API_SHUTDOWN_TIMEOUT" {
			var seconds int64
			if _, err := fmt.Sscanf(v.Value, "%ds", &seconds); err != nil {
				t.Fatalf("%s is %q: %v", v.Name, v.Value, err)
			}
			bound += seconds
		}
	}
	if bound == 0 || *pod.TerminationGracePeriodSeconds <= bound {
		t.Errorf("a grace period of %d s, and stopping takes up to %d s", *pod.TerminationGracePeriodSeconds, bound)
	}
}
