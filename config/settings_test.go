package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"sluice.dev/sluice/autoscaler"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// row is one key of a ConfigMap: a value that is taken, with what it changes in the defaults, and values that are refused, with what the
// error says is wanted.
type row struct {
	name, key, good string
	change          func(*Settings)
	bad             []string
	want            string
}

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

const (
	wholeNumber = "a whole number from "
	anAmount    = "want a quantity that is not negative, such as 100m or 64Mi"
	aFlag       = "want Enabled, Allowed or Disabled"
	anAge       = `want a duration that is not negative, such as 48h, or "disabled"`
)

// Templates of host names that Knative's documentation has.
const (
	hyphens   = "{{.Name}}-{{.Namespace}}.{{.Domain}}"
	annotated = `{{.Name}}-{{index .Annotations "sub"}}.{{.Namespace}}.{{.Domain}}`
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var rows = []row{
	{RetentionName, "retain-since-create-time", "1h", func(s *Settings) { s.Retention.SinceCreated = time.Hour },
		[]string{"1", "-1h", "1d"}, anAge},
	{RetentionName, "retain-since-create-time", "disabled", func(s *Settings) { s.Retention.SinceCreated = rollout.Disabled }, nil, ""},
	{RetentionName, "retain-since-create-time", "0s", func(s *Settings) { s.Retention.SinceCreated = 0 }, nil, ""},
	{RetentionName, "retain-since-create-time", "", func(*Settings) {}, nil, ""},
	{RetentionName, "retain-since-last-active-time", "30m", func(s *Settings) { s.Retention.SinceActive = 30 * time.Minute },
		[]string{"soon"}, anAge},
	{RetentionName, "min-non-active-revisions", "0", func(s *Settings) { s.Retention.Min = 0 },
		[]string{"-1", "", "disabled", "1.5", "99999999999"}, "want " + wholeNumber + "0 to"},
	{RetentionName, "min-non-active-revisions", "1000", func(s *Settings) { s.Retention.Min = 1000 }, []string{"1001"},
		"min-non-active-revisions is 1001, want at most the 1000 of max-non-active-revisions"},
	{RetentionName, "max-non-active-revisions", "20", func(s *Settings) { s.Retention.Max = 20 }, []string{"-1", "all"},
		`want a whole number that is not negative, or "disabled"`},
	{RetentionName, "max-non-active-revisions", "Disabled", func(s *Settings) { s.Retention.Max = rollout.Disabled }, []string{"19"},
		"min-non-active-revisions is 20, want at most the 19 of"},

	{DefaultsName, keyTimeout, "200", func(s *Settings) { s.Defaults.TimeoutSeconds, s.Defaults.ResponseStartTimeoutSeconds = 200, 200 },
		[]string{"0", "-5", "5m", ""}, "want " + wholeNumber + "1 to"},
	{DefaultsName, keyTimeout, "600", func(s *Settings) { s.Defaults.TimeoutSeconds, s.Defaults.ResponseStartTimeoutSeconds = 600, 600 },
		[]string{"601"}, "revision-timeout-seconds is 601, want at most the 600 of max-revision-timeout-seconds"},
	{DefaultsName, keyMaxTimeout, "3600", func(s *Settings) { s.Defaults.Bounds.TimeoutSeconds = 3600 }, []string{"299"},
		"revision-timeout-seconds is 300, want at most the 299 of"},
	{DefaultsName, keyResponseStart, "0", func(s *Settings) { s.Defaults.ResponseStartTimeoutSeconds = 0 }, []string{"301"},
		"revision-response-start-timeout-seconds is 301, want at most the 300 of revision-timeout-seconds"},
	{DefaultsName, keyIdle, "10", func(s *Settings) { s.Defaults.IdleTimeoutSeconds = 10 }, []string{"301"},
		"revision-idle-timeout-seconds is 301, want at most the 300 of"},
	{DefaultsName, keyConcurrency, "1000", func(s *Settings) { s.Defaults.ContainerConcurrency = 1000 }, []string{"1001"},
		"container-concurrency is 1001, want at most the 1000 of container-concurrency-max-limit"},
	{DefaultsName, keyMaxConcurrent, "2000", func(s *Settings) { s.Defaults.Bounds.ContainerConcurrency = 2000 }, []string{"0"},
		"want " + wholeNumber + "1 to"},
	{DefaultsName, "allow-container-concurrency-zero", "false", func(s *Settings) { s.Defaults.Bounds.NeedsConcurrency = true },
		[]string{"no", ""}, "want true or false"},
	{DefaultsName, "enable-service-links", "true", func(s *Settings) { s.Defaults.EnableServiceLinks = new(true) }, []string{"yes"},
		`want true, false, or "default"`},
	{DefaultsName, "enable-service-links", "default", func(s *Settings) { s.Defaults.EnableServiceLinks = nil }, nil, ""},
	{DefaultsName, "container-name-template", "{{.Name}}", func(s *Settings) { s.Defaults.ContainerName = "{{.Name}}" },
		[]string{"{{.Nme}}", "{{", "My App", "", "queue-proxy"}, "want a name of lower-case letters"},
	{DefaultsName, "init-container-name-template", "init-container", func(*Settings) {}, []string{"{{"},
		"want a name of lower-case letters"},
	{DefaultsName, "revision-cpu-request", "100m", func(s *Settings) { s.Defaults.Requests = corev1.ResourceList{"cpu": quantity("100m")} },
		[]string{"much", "-1"}, anAmount},
	{DefaultsName, "revision-memory-request", "64Mi",
		func(s *Settings) { s.Defaults.Requests = corev1.ResourceList{"memory": quantity("64Mi")} }, []string{"64MB?"}, anAmount},
	{DefaultsName, "revision-ephemeral-storage-request", "1Gi",
		func(s *Settings) { s.Defaults.Requests = corev1.ResourceList{"ephemeral-storage": quantity("1Gi")} }, []string{""}, anAmount},
	{DefaultsName, "revision-cpu-limit", "1", func(s *Settings) { s.Defaults.Limits = corev1.ResourceList{"cpu": quantity("1")} },
		[]string{"one"}, anAmount},
	{DefaultsName, "revision-memory-limit", "1Gi", func(s *Settings) { s.Defaults.Limits = corev1.ResourceList{"memory": quantity("1Gi")} },
		[]string{"one"}, anAmount},
	{DefaultsName, "revision-ephemeral-storage-limit", "1Gi",
		func(s *Settings) { s.Defaults.Limits = corev1.ResourceList{"ephemeral-storage": quantity("1Gi")} }, []string{"one"}, anAmount},

	{DeploymentName, "queue-sidecar-image", "example.org/q:1", func(s *Settings) { s.Deployment.QueueProxyImage = "example.org/q:1" }, nil,
		""},
	{DeploymentName, "queueSidecarImage", "example.org/q:1", func(s *Settings) { s.Deployment.QueueProxyImage = "example.org/q:1" }, nil,
		""},
	{DeploymentName, "queue-sidecar-cpu-request", "50m", func(s *Settings) { s.Deployment.QueueProxy.Requests["cpu"] = quantity("50m") },
		[]string{"x"}, anAmount},
	{DeploymentName, "queue-sidecar-memory-request", "50Mi",
		func(s *Settings) { s.Deployment.QueueProxy.Requests["memory"] = quantity("50Mi") }, []string{"x"}, anAmount},
	{DeploymentName, "queue-sidecar-ephemeral-storage-request", "50Mi",
		func(s *Settings) { s.Deployment.QueueProxy.Requests["ephemeral-storage"] = quantity("50Mi") }, []string{"x"}, anAmount},
	{DeploymentName, "queue-sidecar-cpu-limit", "1",
		func(s *Settings) { s.Deployment.QueueProxy.Limits = corev1.ResourceList{"cpu": quantity("1")} }, []string{"10m"},
		"queue-sidecar-cpu-request is 25m, want at most the 10m of queue-sidecar-cpu-limit"},
	{DeploymentName, "queue-sidecar-memory-limit", "1Gi",
		func(s *Settings) { s.Deployment.QueueProxy.Limits = corev1.ResourceList{"memory": quantity("1Gi")} }, []string{"x"}, anAmount},
	{DeploymentName, "queue-sidecar-ephemeral-storage-limit", "1Gi", func(s *Settings) {
		s.Deployment.QueueProxy.Limits = corev1.ResourceList{"ephemeral-storage": quantity("1Gi")}
	}, []string{"x"}, anAmount},
	{DeploymentName, "progress-deadline", "2m", func(s *Settings) {
		s.Deployment.ProgressDeadline, s.Autoscaler.ProgressDeadline = 2*time.Minute, 2*time.Minute
	}, []string{"0s", "1500ms", "-1s", "120"}, "want a duration of whole seconds over 0"},
	{DeploymentName, "digest-resolution-timeout", "500ms", func(s *Settings) { s.Deployment.DigestTimeout = 500 * time.Millisecond },
		[]string{"0s", "10"}, "want a duration over 0"},
	{DeploymentName, "registries-skipping-tag-resolving", "ko.local, a.org,,a.org",
		func(s *Settings) { s.Deployment.SkipTagResolving = []string{"a.org", "ko.local"} }, nil, ""},
	{DeploymentName, "default-affinity-type", "none", func(s *Settings) { s.Deployment.Spread = false }, []string{"", "spread"},
		`want "prefer-spread-revision-over-nodes" or "none"`},
	{DeploymentName, "runtime-class-name", "kata: {}\ngvisor: {selector: {tier: a}}", func(s *Settings) {
		s.Deployment.RuntimeClasses = []RuntimeClass{{"gvisor", map[string]string{"tier": "a"}}, {Name: "kata"}}
	}, []string{"kata", "KATA: {}", "a: {selector: {'a b': c}}", "a: {labels: {}}"}, "want names of RuntimeClasses as YAML"},
	{DeploymentName, "pod-is-always-schedulable", "true", func(s *Settings) { s.Deployment.AlwaysSchedulable = true }, []string{"maybe"},
		"want true or false"},

	{DomainName, "example.com", "", func(s *Settings) { s.Domain.Default = "example.com" },
		[]string{"selector", "{selectr: {a: b}}", "{selector: {'a b': c}}"}, "want nothing, or a selector as YAML"},
	{DomainName, "example.org", "selector:\n  app: nonprofit\n", func(s *Settings) {
		s.Domain.Selected = []rollout.Domain{{Name: "example.org", Selector: map[string]string{"app": "nonprofit"}}}
	}, nil, ""},
	{DomainName, "example.net", "type: wildcard", func(s *Settings) { s.Domain.Default = "example.net" }, nil, ""},

	{NetworkName, "domain-template", hyphens, func(s *Settings) { s.Network.DomainTemplate = must(rollout.ParseDomainTemplate(hyphens)) },
		[]string{"{{.Nme}}", "{{", "{{.Domain}}/x", ""}, "want a Go template of host names"},
	{NetworkName, "domain-template", annotated,
		func(s *Settings) { s.Network.DomainTemplate = must(rollout.ParseDomainTemplate(annotated)) }, nil, ""},
	{NetworkName, "domainTemplate", hyphens, func(s *Settings) { s.Network.DomainTemplate = must(rollout.ParseDomainTemplate(hyphens)) },
		nil, ""},
	{NetworkName, "tag-template", "{{.Name}}-{{.Tag}}",
		func(s *Settings) { s.Network.TagTemplate = must(rollout.ParseTagTemplate("{{.Name}}-{{.Tag}}")) },
		[]string{"{{.Namespace}}", "{{.Tag}}_x", ""}, "want a Go template of host names"},
	{NetworkName, "default-external-scheme", "HTTPS", func(s *Settings) { s.Network.Scheme = "https" }, []string{"ftp", ""},
		"want http or https"},
	{NetworkName, "http-protocol", "redirected", func(s *Settings) { s.Network.HTTP = model.HTTPRedirected }, []string{"no"},
		"want Enabled, Redirected or Disabled"},
	{NetworkName, "http-protocol", "Disabled", func(s *Settings) { s.Network.HTTP = model.HTTPDisabled }, nil, ""},
	{NetworkName, "http-protocol", "Enabled", func(*Settings) {}, nil, ""},
	{NetworkName, "http-protocol", "", func(*Settings) {}, nil, ""},
	{NetworkName, "rollout-duration", "120", func(s *Settings) { s.Network.RolloutDuration = 2 * time.Minute }, []string{"2m", "-1", ""},
		"want " + wholeNumber + "0 to"},
	{NetworkName, "autocreate-cluster-domain-claims", "true", func(s *Settings) { s.Network.Claims = true }, []string{"on", ""},
		"want true or false"},
	{NetworkName, "ingress-class", "kourier.ingress.networking.knative.dev", func(*Settings) {}, nil, ""},

	{ObservabilityName, "tracing-protocol", "none", func(*Settings) {}, []string{"zipkin", "GRPC"}, "want grpc, http/protobuf or none"},
	{ObservabilityName, "tracing-protocol", "", func(*Settings) {}, nil, ""},
	{ObservabilityName, "tracing-sampling-rate", "0.1", func(*Settings) {}, []string{"-0.1", "1.1", "10%", "NaN", ""},
		"want a number from 0 to 1"},
	{ObservabilityName, "tracing-endpoint", "", func(*Settings) {}, []string{"http://collector:4317"},
		"want none with a tracing-protocol of none"},
	{ObservabilityName, "metrics-protocol", "prometheus", func(*Settings) {}, nil, ""},

	{FeaturesName, "multi-container", "disabled",
		func(s *Settings) { s.Features.MultiContainer, s.Defaults.Bounds.OneContainer = false, true }, []string{"off", ""}, aFlag},
	{FeaturesName, "multi-container", "Allowed", func(*Settings) {}, nil, ""},
	{FeaturesName, "kubernetes.podspec-volumes-emptydir", "Disabled",
		func(s *Settings) { s.Features.EmptyDir, s.Defaults.Bounds.NoEmptyDir = false, true }, []string{"false"}, aFlag},
	{FeaturesName, "queueproxy.resource-defaults", "ENABLED", func(s *Settings) { s.Features.QueueProxyResourceDefaults = true },
		[]string{"true"}, aFlag},
	{FeaturesName, "secure-pod-defaults", "allowrootbounded", func(s *Settings) {
		s.Features.SecurePodDefaults, s.Defaults.Secure = servingv1.SecureRootAllowed, servingv1.SecureRootAllowed
	}, []string{"Allowed", ""}, "want Enabled, AllowRootBounded or Disabled"},
	{FeaturesName, "secure-pod-defaults", "Enabled", func(s *Settings) {
		s.Features.SecurePodDefaults, s.Defaults.Secure = servingv1.SecureOn, servingv1.SecureOn
	}, nil, ""},
	{FeaturesName, "kubernetes.podspec-affinity", "Allowed", func(s *Settings) {
		s.Features.Pods = map[string]bool{"kubernetes.podspec-affinity": true}
	}, []string{"on"}, aFlag},
	{FeaturesName, "kubernetes.podspec-hostipc", "Disabled", func(*Settings) {}, []string{"on"}, aFlag},
	{FeaturesName, "tag-header-based-routing", "Enabled", func(*Settings) {}, []string{"on"}, aFlag},

	{AutoscalerName, "stable-window", "30s", func(s *Settings) { s.Autoscaler.StableWindow = 30 * time.Second }, []string{"soon", ""},
		"want a duration such as 60s"},
	{AutoscalerName, "stable-window", "60s", func(*Settings) {}, []string{"1s"}, "stable-window = 1s, must be in [6s; 1h0m0s] range"},
	{AutoscalerName, "max-scale", "7", func(s *Settings) { s.Autoscaler.MaxScale = 7 }, []string{"x", "1.5", "99999999999"},
		"want a whole number"},
	{AutoscalerName, "max-scale", "8", func(s *Settings) { s.Autoscaler.MaxScale = 8 }, []string{"-1"}, "max-scale = -1, must be in [0,"},
	{AutoscalerName, "enable-scale-to-zero", "false", func(s *Settings) { s.Autoscaler.ScaleToZero = false }, []string{"never"},
		"want true or false"},
	{AutoscalerName, "target-burst-capacity", "-1", func(s *Settings) { s.Autoscaler.TargetBurstCapacity = -1 },
		[]string{"many", "NaN", "Inf"}, "want a number"},
}

// check compares settings with the defaults.
func check(t *testing.T, what string, got Settings) {
	t.Helper()
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("%s (-default +got):\n%s", what, diff)
	}
}

func TestEachKey(t *testing.T) {
	for _, r := range rows {
		want := Default()
		r.change(&want)
		got, notes, err := Default().With(r.name, map[string]string{r.key: r.good, exampleKey: "some: text"})
		if err != nil || len(notes.Unknown)+len(notes.Ignored) > 0 {
			t.Errorf("%s %s=%q: %v, notes %v", r.name, r.key, r.good, err, notes)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s=%q (-want +got):\n%s", r.name, r.key, r.good, diff)
		}
		for _, bad := range r.bad {
			got, _, err := want.With(r.name, map[string]string{r.key: bad})
			if err == nil {
				t.Errorf("%s %s=%q: no error", r.name, r.key, bad)
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s=%q changed the settings (-before +after):\n%s", r.name, r.key, bad, diff)
			}
			if text := err.Error(); !strings.Contains(text, r.key) || !strings.Contains(text, r.want) {
				t.Errorf("%s %s=%q: error %q; want it to name the key and to contain %q", r.name, r.key, bad, text, r.want)
			}
		}
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	_, _, err := Default().With(DefaultsName, map[string]string{keyTimeout: "soon", keyIdle: "x", "revision-cpu-limit": "y"})
	for _, want := range []string{
		`revision-timeout-seconds is "soon"`, `revision-idle-timeout-seconds is "x"`, `revision-cpu-limit is "y"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q in it", err, want)
		}
	}
}

func TestMissingConfigMapsMeanDefaults(t *testing.T) {
	changed := Default()
	var err error
	for name, data := range map[string]map[string]string{
		AutoscalerName: {"max-scale": "3"}, DefaultsName: {keyTimeout: "10"}, DeploymentName: {"progress-deadline": "1s"},
		FeaturesName: {"secure-pod-defaults": "enabled"}, DomainName: {"a.example": ""}, NetworkName: {"http-protocol": "Redirected"},
		ObservabilityName: tracingData("grpc", "http://c:4317", "1"), RetentionName: {"min-non-active-revisions": "1"},
	} {
		if changed, _, err = changed.With(name, data); err != nil {
			t.Fatal(err)
		}
	}
	if cmp.Equal(changed, Default()) {
		t.Error("nothing changed")
	}
	for _, name := range Names() {
		if changed, _, err = changed.With(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	check(t, "without any ConfigMap", changed)
	if changed.Autoscaler != autoscaler.DefaultConfig() {
		t.Error("the autoscaler's defaults differ")
	}
	if _, _, err := Default().With("config-nothing", nil); err == nil {
		t.Error("a ConfigMap that nothing reads: no error")
	}
	if !slices.IsSorted(Names()) {
		t.Errorf("names %v, want them sorted", Names())
	}
}

func TestNotes(t *testing.T) {
	for _, c := range []struct {
		name string
		data map[string]string
		want Notes
	}{
		{DefaultsName, map[string]string{"revision-timeout": "1", "Container-Concurrency": "x"},
			Notes{Unknown: []string{"Container-Concurrency", "revision-timeout"}}},
		{AutoscalerName, map[string]string{"stable-windw": "1s", "stable-window": "60s"}, Notes{Unknown: []string{"stable-windw"}}},
		{DefaultsName, map[string]string{"init-container-name-template": "first"}, Notes{Ignored: []string{
			"init-container-name-template has no effect: each init container needs a name of its own."}}},
		{DeploymentName, map[string]string{"queue-sidecar-rootca": "x", "queue-sidecar-token-audiences": ""}, Notes{Ignored: []string{
			"queue-sidecar-rootca is set, and Sluice does not have certificates for extensions of the queue-proxy."}}},
		{FeaturesName, map[string]string{"kubernetes.podspec-hostipc": "enabled", "autodetect-http2": "Disabled"}, Notes{Ignored: []string{
			"kubernetes.podspec-hostipc is enabled, and Sluice does not have it: templates cannot have hostIPC."}}},
		{NetworkName, map[string]string{"external-domain-tls": "Enabled", "cluster-local-domain-tls": "disabled", "ingress-class": "x"},
			Notes{Ignored: []string{
				"external-domain-tls is Enabled, and Sluice does not have it."}}},
		{ObservabilityName, map[string]string{"tracing-protocol": "grpc", "tracing-endpoint": "http://c:4317"}, Notes{Ignored: []string{
			"tracing-endpoint has no effect: tracing-sampling-rate is missing, which means 0."}}},
		{ObservabilityName, map[string]string{"tracing-protocol": "stdout", "logging.enable-request-log": "true"}, Notes{Ignored: []string{
			"logging.enable-request-log is true, and Sluice does not have it.",
			"tracing-protocol is stdout, and Sluice does not have it."}}},
		{FeaturesName, map[string]string{"tag-header-based-routing": "Disabled"}, Notes{Ignored: []string{
			"tag-header-based-routing is Disabled, and Sluice cannot switch it off."}}},
	} {
		_, got, err := Default().With(c.name, c.data)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s %v: %v\n%s", c.name, c.data, err, diff)
		}
	}
}

func tracingData(protocol, endpoint, rate string) map[string]string {
	return map[string]string{keyTracingProtocol: protocol, keyTracingEndpoint: endpoint, keyTracingRate: rate}
}

func TestTracing(t *testing.T) {
	for _, c := range []struct {
		data map[string]string
		want model.Tracing
	}{
		{tracingData("grpc", "http://c.obs:4317", "0.25"),
			model.Tracing{Protocol: model.TracingGRPC, Endpoint: "http://c.obs:4317", SamplingRate: 0.25}},
		{tracingData("http/protobuf", "http://c.obs", "1"),
			model.Tracing{Protocol: model.TracingHTTP, Endpoint: "http://c.obs:4318/v1/traces", SamplingRate: 1}},
		{tracingData("grpc", "http://c.obs:4317", "0"), model.Tracing{}},
		{tracingData("none", "", "1"), model.Tracing{}},
	} {
		got, notes, err := Default().With(ObservabilityName, c.data)
		if err != nil || got.Tracing != c.want || len(notes.Unknown)+len(notes.Ignored) > 0 {
			t.Errorf("%v: %+v, %v, notes %v; want %+v", c.data, got.Tracing, err, notes, c.want)
		}
	}
	for endpoint, want := range map[string]string{
		"": "want the URL of a collector", "collector": "want the URL of a collector", "http://c:4317/path": "has a path",
	} {
		_, _, err := Default().With(ObservabilityName, tracingData("grpc", endpoint, "1"))
		if err == nil || !strings.Contains(err.Error(), `tracing-endpoint is "`+endpoint) || !strings.Contains(err.Error(), want) {
			t.Errorf("endpoint %q: error %v, want %q", endpoint, err, want)
		}
	}
}

func TestNewerSpellingWins(t *testing.T) {
	got, _, err := Default().With(DeploymentName, map[string]string{"progressDeadline": "1s", "progress-deadline": "2s"})
	if err != nil || got.Deployment.ProgressDeadline != 2*time.Second {
		t.Errorf("progress deadline %v, %v; want 2s", got.Deployment.ProgressDeadline, err)
	}
}

func TestQueueProxyResources(t *testing.T) {
	s, _, err := Default().With(DeploymentName, map[string]string{"queue-sidecar-memory-limit": "1Gi"})
	if err != nil {
		t.Fatal(err)
	}
	plain := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": quantity("25m")}, Limits: corev1.ResourceList{"memory": quantity("1Gi")},
	}
	if diff := cmp.Diff(plain, s.QueueProxyResources()); diff != "" {
		t.Errorf("without the feature:\n%s", diff)
	}
	s.Features.QueueProxyResourceDefaults = true
	full := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": quantity("25m"), "memory": quantity("400Mi")},
		Limits:   corev1.ResourceList{"cpu": quantity("1000m"), "memory": quantity("1Gi")},
	}
	if diff := cmp.Diff(full, s.QueueProxyResources()); diff != "" {
		t.Errorf("with the feature:\n%s", diff)
	}
	if diff := cmp.Diff(plain.Requests, s.Deployment.QueueProxy.Requests); diff != "" {
		t.Errorf("the settings changed:\n%s", diff)
	}
}

func TestHosts(t *testing.T) {
	s := Default()
	if got := s.Hosts(rollout.Options{ClusterDomain: "corp"}); got.Domain != "svc.corp" {
		t.Errorf("without any domain the default is %q, want svc.corp", got.Domain)
	}
	s, _, err := s.With(DomainName, map[string]string{
		"_example": "not read", "z.example": "", "b.example": "", "d.example": "selector: {app: a}", "c.example": "selector: {app: b}",
	})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err = s.With(NetworkName, map[string]string{"rollout-duration": "10", "http-protocol": "Redirected"})
	if err != nil {
		t.Fatal(err)
	}
	want := rollout.Options{
		Domain: "b.example", Scheme: "http", HTTP: model.HTTPRedirected, RolloutDuration: 10 * time.Second, Port: 8080,
		Domains: []rollout.Domain{
			{Name: "c.example", Selector: map[string]string{"app": "b"}}, {Name: "d.example", Selector: map[string]string{"app": "a"}},
		},
	}
	if diff := cmp.Diff(want, s.Hosts(rollout.Options{Port: 8080})); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
	_, _, err = s.With(DomainName, map[string]string{"Example_com": ""})
	if err == nil || !strings.Contains(err.Error(), `key "Example_com": want a domain`) {
		t.Errorf("a domain that is none: %v", err)
	}
}

// The autoscaler reads each key that config-autoscaler has here, and no other.
func TestKeysAreTheAutoscalers(t *testing.T) {
	k, s := newKeys(nil), Default()
	readAutoscaler(&s, k)
	data := map[string]string{}
	for key := range k.known {
		data[key] = ""
	}
	if unknown := autoscaler.UnknownKeys(data); len(unknown) > 0 {
		t.Errorf("the autoscaler does not read %v", unknown)
	}
	data["another"] = ""
	if got := autoscaler.UnknownKeys(data); len(got) != 1 {
		t.Errorf("unknown keys %v, want one", got)
	}
}
