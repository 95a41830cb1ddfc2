package apiserver

import (
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// rejections has a row for each rule: a patch of the smallest Service or Route, and the text of the error. The test tries each
// with a create and with an update.
var rejections = []struct {
	name, base, patch string
	want              string // empty: it is accepted
}{
	// Traffic.
	{"traffic that sums to 90", service, `{spec: {traffic: [{latestRevision: true, percent: 90}]}}`,
		"spec.traffic: Invalid value: Traffic targets sum to 90, want 100"},
	{"traffic that sums to 110", service, `{spec: {traffic: [{percent: 60}, {revisionName: a, percent: 50}]}}`,
		"Traffic targets sum to 110, want 100"},
	{"a percent over 100", service, `{spec: {traffic: [{percent: 101}]}}`, "spec.traffic[0].percent: Invalid value: 101"},
	{"a negative percent", service, `{spec: {traffic: [{percent: -1}, {percent: 101}]}}`, "spec.traffic[0].percent: Invalid value: -1"},
	{"revision and latest", service, `{spec: {traffic: [{revisionName: hello-00001, latestRevision: true, percent: 100}]}}`,
		`spec.traffic[0].latestRevision: Invalid value: may not set revisionName "hello-00001" when latestRevision is true`},
	{"neither revision nor latest", service, `{spec: {traffic: [{latestRevision: false, percent: 100}]}}`,
		`may not set revisionName "" when latestRevision is false`},
	{"a configuration in a Service", service, `{spec: {traffic: [{configurationName: hello, percent: 100}]}}`,
		"must not set the field(s): configurationName"},
	{"one tag twice", service, `{spec: {traffic: [{percent: 100, tag: blue}, {percent: 0, tag: green}, {percent: 0, tag: green}]}}`,
		`Multiple definitions for "green"`},
	{"many targets without tags", service, `{spec: {traffic: [{revisionName: a, percent: 50}, {revisionName: b, percent: 50}]}}`, ""},
	{"a target of 0 percent", service, `{spec: {traffic: [{revisionName: a, percent: 100}, {revisionName: b, tag: b}]}}`, ""},
	{"a tag that is no DNS label", service, `{spec: {traffic: [{percent: 100, tag: Blue_1}]}}`,
		"spec.traffic[0].tag: Invalid value: not a DNS 1035 label"},
	{"a tag that begins with a digit", service, `{spec: {traffic: [{percent: 100, tag: 1st}]}}`, "not a DNS 1035 label"},
	{"a url in a spec", service, `{spec: {traffic: [{percent: 100, url: "http://x"}]}}`, "must not set the field(s): url"},
	{"a revision name that cannot be one", service, `{spec: {traffic: [{revisionName: "A B", percent: 100}]}}`,
		"spec.traffic[0].revisionName: Invalid value"},
	{"a Route to neither", route, `{spec: {traffic: [{percent: 100}]}}`,
		"expected exactly one, got neither: revisionName, configurationName"},
	{"a Route to both", route, `{spec: {traffic: [{revisionName: a, configurationName: b, percent: 100}]}}`,
		"expected exactly one, got both: revisionName, configurationName"},
	{"a Route that sums to 50", route, `{spec: {traffic: [{revisionName: a, percent: 50}]}}`, "Traffic targets sum to 50, want 100"},
	{"a Route to nothing", route, `{spec: {traffic: []}}`, "spec.traffic: Required value"},

	// The template's metadata.
	{"a revision name without the prefix", service, `{spec: {template: {metadata: {name: other-1}}}}`,
		`spec.template.metadata.name: Invalid value: "other-1" must have prefix "hello-"`},
	{"a revision name with the prefix", service, `{spec: {template: {metadata: {name: hello-1}}}}`, ""},
	{"a revision name that is no DNS label", service, `{spec: {template: {metadata: {name: hello-A}}}}`,
		"spec.template.metadata.name: Invalid value: \"hello-A\": not a DNS 1035 label"},
	{"a configuration's revision name without the prefix", configuration, `{spec: {template: {metadata: {name: x}}}}`,
		`"x" must have prefix "hello-"`},
	{"min-scale below 0", service, annotation("autoscaling.knative.dev/min-scale", "-1"),
		"spec.template.metadata.annotations: Invalid value: expected 0 <= -1 <= 2147483647: autoscaling.knative.dev/min-scale"},
	{"minScale in words", service, annotation("autoscaling.knative.dev/minScale", "one"),
		"invalid value: one: autoscaling.knative.dev/minScale"},
	{"max-scale with a fraction", service, annotation("autoscaling.knative.dev/max-scale", "1.5"),
		"invalid value: 1.5: autoscaling.knative.dev/max-scale"},
	{"initial-scale empty", service, annotation("autoscaling.knative.dev/initial-scale", ""),
		"invalid value: : autoscaling.knative.dev/initial-scale"},
	{"max-scale below min-scale", service,
		`{spec: {template: {metadata: {annotations: {autoscaling.knative.dev/min-scale: "3", autoscaling.knative.dev/maxScale: "2"}}}}}`,
		"max-scale=2 is less than min-scale=3: autoscaling.knative.dev/max-scale, autoscaling.knative.dev/min-scale"},
	{"max-scale 0 means no limit", service,
		`{spec: {template: {metadata: {annotations: {autoscaling.knative.dev/min-scale: "3", autoscaling.knative.dev/max-scale: "0"}}}}}`,
		""},
	{"initial-scale 0, which a configuration may allow", service, annotation("autoscaling.knative.dev/initial-scale", "0"), ""},
	{"scales that fit", service,
		`{spec: {template: {metadata: {annotations: {autoscaling.knative.dev/min-scale: "3", autoscaling.knative.dev/max-scale: "10"}}}}}`,
		""},
	{"a negative progress deadline", service, annotation("serving.knative.dev/progress-deadline", "-1s"),
		"progress-deadline must be a duration of whole seconds"},
	{"a progress deadline of parts of a second", service, annotation("serving.knative.dev/progress-deadline", "1500ms"),
		"progress-deadline must be a duration of whole seconds"},
	{"a progress deadline of parts of a millisecond", service, annotation("serving.knative.dev/progress-deadline", "1s1us"),
		"progress-deadline must be a duration of whole seconds"},
	{"a progress deadline", service, annotation("serving.knative.dev/progress-deadline", "1m30s"), ""},
	{"autoscaling on the Service itself", service, `{metadata: {annotations: {autoscaling.knative.dev/min-scale: "1"}}}`,
		"autoscaling annotations must be put under spec.template.metadata.annotations"},
	{"a rollout duration that is none", service, `{metadata: {annotations: {serving.knative.dev/rollout-duration: soon}}}`,
		"must be a duration such as 90s"},
	{"a negative rollout duration", route, `{metadata: {annotations: {serving.knative.dev/rollout-duration: "-5s"}}}`,
		"rollout-duration=-5s must be positive"},
	{"a rollout duration of parts of a second", service, `{metadata: {annotations: {serving.knative.dev/rolloutDuration: 1500ms}}}`,
		"rollout-duration=1500ms is not at second precision"},
	{"a rollout duration", service, `{metadata: {annotations: {serving.knative.dev/rollout-duration: 90s}}}`, ""},

	// Limits of requests.
	{"a timeout over 600", service, `{spec: {template: {spec: {timeoutSeconds: 601}}}}`,
		"spec.template.spec.timeoutSeconds: Invalid value: expected 0 <= 601 <= 600"},
	{"a negative timeout", service, `{spec: {template: {spec: {timeoutSeconds: -1}}}}`, "should be greater than or equal to 0"},
	{"a concurrency over 1000", service, `{spec: {template: {spec: {containerConcurrency: 1001}}}}`,
		"spec.template.spec.containerConcurrency: Invalid value: expected 0 <= 1001 <= 1000"},
	{"a negative concurrency", service, `{spec: {template: {spec: {containerConcurrency: -1}}}}`, "should be greater than or equal to 0"},
	{"a negative idle timeout", service, `{spec: {template: {spec: {idleTimeoutSeconds: -1}}}}`, "should be greater than or equal to 0"},

	// Containers.
	{"no container", service, `{spec: {template: {spec: {containers: []}}}}`, "spec.template.spec.containers: Required value"},
	{"no image", service, container(`{name: a}`), "spec.template.spec.containers[0].image: Required value"},
	{"an empty image", service, container(`{image: ""}`), "spec.template.spec.containers[0].image: Required value"},
	{"a reserved container name", service, container(`{image: a, name: queue-proxy}`), `"queue-proxy" is a reserved container name`},
	{"a container name that is none", service, container(`{image: a, name: A_b}`), "spec.template.spec.containers[0].name: Invalid value"},
	{"one container name twice", service, container(`{image: a, name: x, ports: [{containerPort: 1}]}, {image: b, name: x}`),
		"container names must be unique"},
	{"a second container", service, container(`{image: a, ports: [{containerPort: 1}]}, {image: b}`), ""},
	{"two ports", service, container(`{image: a, ports: [{containerPort: 1}, {containerPort: 2}]}`), "More than one container port is set"},
	{"two containers with ports", service, container(`{image: a, ports: [{containerPort: 1}]}, {image: b, ports: [{containerPort: 2}]}`),
		"More than one container port is set"},
	{"two containers without ports", service, container(`{image: a}, {image: b}`), "missing field(s): ports"},
	{"a reserved port", service, container(`{image: a, ports: [{containerPort: 8012}]}`),
		"containerPort: Invalid value: 8012: 8012 is a reserved port"},
	{"a port over 65535", service, container(`{image: a, ports: [{containerPort: 65536}]}`), "should be less than or equal to 65535"},
	{"a protocol by port name", service, container(`{image: a, ports: [{name: h2c, containerPort: 80}]}`), ""},
	{"an unknown port name", service, container(`{image: a, ports: [{name: grpc, containerPort: 80}]}`),
		"Port name grpc is not allowed: name must be empty, or one of: h2c, http1"},
	{"UDP", service, container(`{image: a, ports: [{protocol: UDP, containerPort: 80}]}`), `Unsupported value: "UDP"`},
	{"PORT of the only container", service, container(`{image: a, env: [{name: PORT, value: "1"}]}`),
		`"PORT" is a reserved environment variable of the container that takes requests`},
	{"PORT of the container with ports", service,
		container(`{image: a, ports: [{containerPort: 1}], env: [{name: PORT, value: "1"}]}, {image: b}`),
		`"PORT" is a reserved environment variable of the container that takes requests`},
	{"our own mark", service, container(`{image: a, env: [{name: SLUICE_RUNTIME, value: x}]}`),
		`env[0].name: Invalid value: "SLUICE_RUNTIME" is a reserved environment variable`},
	{"a reserved variable", service, container(`{image: a, env: [{name: A, value: b}, {name: K_SERVICE, value: x}]}`),
		`env[1].name: Invalid value: "K_SERVICE" is a reserved environment variable`},
	{"a variable without a name", service, container(`{image: a, env: [{value: x}]}`), "env[0].name: Required value"},
	{"a variable from two places", service,
		container(`{image: a, env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b}, secretKeyRef: {name: a, key: b}}}]}`),
		"must have at most 1 item"},
	{"a quantity that is none", service, container(`{image: a, resources: {limits: {cpu: lots}}}`),
		"spec.template.spec.containers[0].resources.limits.cpu: Invalid value"},

	// Probes.
	{"a liveness probe of two kinds", service, container(`{image: a, livenessProbe: {httpGet: {path: /}, tcpSocket: {port: 80}}}`),
		"livenessProbe: Invalid value: expected exactly one of httpGet"},
	{"a liveness probe of no kind", service, container(`{image: a, livenessProbe: {periodSeconds: 1}}`),
		"livenessProbe: Invalid value: expected exactly one of httpGet"},
	{"a startup probe of no kind", service, container(`{image: a, startupProbe: {periodSeconds: 1}}`),
		"startupProbe: Invalid value: expected exactly one of httpGet"},
	{"a readiness probe of two kinds", service, container(`{image: a, readinessProbe: {httpGet: {path: /}, exec: {command: [x]}}}`),
		"readinessProbe: Invalid value: expected at most one of httpGet"},
	{"aggressive probing with a failure threshold", service, container(`{image: a, readinessProbe: {failureThreshold: 2}}`),
		"failureThreshold is disallowed when periodSeconds is zero"},
	{"aggressive probing with a timeout", service, container(`{image: a, readinessProbe: {timeoutSeconds: 2}}`),
		"timeoutSeconds is disallowed when periodSeconds is zero"},
	{"a readiness probe without a handler", service, container(`{image: a, readinessProbe: {periodSeconds: 5}}`), ""},

	// Volumes.
	{"a mount of no volume", service, container(`{image: a, volumeMounts: [{name: v, mountPath: /v}]}`),
		"volumeMounts must name one of the volumes"},
	{"a volume that is not mounted", service, `{spec: {template: {spec: {volumes: [{name: v, emptyDir: {}}]}}}}`,
		"each of the volumes must be mounted"},
	{"a mounted volume", service, volume(`{name: v, mountPath: /v}`, `{name: v, emptyDir: {}}`), ""},
	{"a volume of two kinds", service, volume(`{name: v, mountPath: /v}`, `{name: v, emptyDir: {}, secret: {secretName: s}}`),
		"must have at most 2 items"},
	{"a relative mount path", service, volume(`{name: v, mountPath: v}`, `{name: v, emptyDir: {}}`), `mountPath "v" must be absolute`},
	{"a reserved mount path", service, volume(`{name: v, mountPath: /dev}`, `{name: v, emptyDir: {}}`),
		`mountPath "/dev" must be absolute and not one of the reserved paths`},
	{"one mount path twice", service, volume(`{name: v, mountPath: /v}, {name: v, mountPath: /v}`, `{name: v, emptyDir: {}}`),
		"Duplicate value"},

	// Users and service accounts.
	{"a negative user", service, container(`{image: a, securityContext: {runAsUser: -10}}`),
		"spec.template.spec.containers[0].securityContext.runAsUser: Invalid value: -10"},
	{"a group over 2147483647", service, container(`{image: a, securityContext: {runAsGroup: 2147483648}}`),
		"securityContext.runAsGroup: Invalid value: 2147483648"},
	{"a user and a group", service, container(`{image: a, securityContext: {runAsUser: 0, runAsGroup: 65532}}`), ""},
	{"a service account that is no name", service, `{spec: {template: {spec: {serviceAccountName: "foo@bar.baz"}}}}`,
		`spec.template.spec.serviceAccountName: Invalid value: "foo@bar.baz": a lowercase RFC 1123 subdomain must consist of`},
	{"a service account", service, `{spec: {template: {spec: {serviceAccountName: build.robot-2}}}}`, ""},

	// Types.
	{"text where a number belongs", service, `{spec: {template: {spec: {timeoutSeconds: soon}}}}`,
		"spec.template.spec.timeoutSeconds: Invalid value"},
	{"no template", service, `{spec: {template: null}}`, "spec.template.spec.containers: Required value"},
	{"a timestamp of nothing", service, `{spec: {template: {metadata: {creationTimestamp: null}}}}`, ""},
}

func annotation(key, value string) string {
	return `{spec: {template: {metadata: {annotations: {` + key + `: "` + value + `"}}}}}`
}

func container(c string) string { return `{spec: {template: {spec: {containers: [` + c + `]}}}}` }

func volume(mount, volume string) string {
	return `{spec: {template: {spec: {volumes: [` + volume + `], containers: [{image: a, volumeMounts: [` + mount + `]}]}}}}`
}

func TestRejectsBadInput(t *testing.T) {
	resources := map[string]string{service: "services", route: "routes", configuration: "configurations"}
	for base, resource := range resources {
		create(t, objects(t, shared, resource, "rejects"), base)
	}
	for _, test := range rejections {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			patch, err := yaml.YAMLToJSON([]byte(test.patch))
			if err != nil {
				t.Fatal(err)
			}
			base, err := yaml.YAMLToJSON([]byte(test.base))
			if err != nil {
				t.Fatal(err)
			}
			merged, err := jsonpatch.MergePatch(base, patch)
			if err != nil {
				t.Fatal(err)
			}
			c := objects(t, shared, resources[test.base], "rejects-new")
			_, err = c.Create(t.Context(), object(t, string(merged)), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			wantInvalid(t, "create", err, test.want)

			c = objects(t, shared, resources[test.base], "rejects")
			_, err = c.Patch(t.Context(), "hello", types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			wantInvalid(t, "update", err, test.want)
		})
	}
}

// wantInvalid checks that err is a Status of reason Invalid with want in its message; nil when want is empty.
func wantInvalid(t *testing.T, did string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v, want it to be accepted", did, err)
		}
		return
	}
	if err == nil {
		t.Errorf("%s: accepted, want an error with %q", did, want)
		return
	}
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got error\n\t%v\nwant one of reason Invalid with\n\t%s", did, err, want)
	}
}

func TestRejectsNamesThatAreNoDNSLabels(t *testing.T) {
	for resource, manifest := range map[string]string{
		"services": service, "configurations": configuration, "revisions": revision, "routes": route,
	} {
		for _, name := range []string{"1st", "a.b", strings.Repeat("a", 64)} {
			u := object(t, manifest)
			u.SetName(name)
			_, err := objects(t, shared, resource, "names").Create(t.Context(), u, metav1.CreateOptions{})
			wantInvalid(t, resource+" "+name, err, "metadata.name is not a DNS 1035 label")
		}
	}
}

func TestRevisionIsImmutable(t *testing.T) {
	c := objects(t, shared, "revisions", "immutable")
	was := create(t, c, revision)
	for _, patch := range []string{
		`{"spec":{"timeoutSeconds":10}}`,
		`{"spec":{"containers":[{"image":"other"}]}}`,
		`{"spec":{"containerConcurrency":null}}`,
	} {
		_, err := c.Patch(t.Context(), was.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		wantInvalid(t, patch, err, "spec: Invalid value: Immutable fields changed (-old +new)")
	}
	is, err := c.Patch(t.Context(), was.GetName(), types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("labelling: %v", err)
	}
	if is.GetGeneration() != was.GetGeneration() {
		t.Errorf("a label moved the generation from %d to %d", was.GetGeneration(), is.GetGeneration())
	}
}

func TestNamedTemplateChangesOnlyWithItsName(t *testing.T) {
	for resource, manifest := range map[string]string{"services": service, "configurations": configuration} {
		c := objects(t, shared, resource, "named")
		u := object(t, manifest)
		metadata := map[string]any{"name": "hello-one"}
		u.Object["spec"].(map[string]any)["template"].(map[string]any)["metadata"] = metadata
		if _, err := c.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ name, patch, want string }{
			{"a template with the same name", `{"spec":{"template":{"spec":{"timeoutSeconds":10}}}}`,
				"Saw the following changes without a name change (-old +new)"},
			{"the same template", `{"spec":{"template":{"metadata":{"name":"hello-one"}}}}`, ""},
			{"another template and name", `{"spec":{"template":{"metadata":{"name":"hello-two"},"spec":{"timeoutSeconds":10}}}}`, ""},
			{"no name", `{"spec":{"template":{"metadata":{"name":null},"spec":{"timeoutSeconds":20}}}}`, ""},
			{"a template without a name", `{"spec":{"template":{"spec":{"timeoutSeconds":30}}}}`, ""},
		} {
			_, err := c.Patch(t.Context(), "hello", types.MergePatchType, []byte(step.patch), metav1.PatchOptions{})
			wantInvalid(t, resource+": "+step.name, err, step.want)
		}
	}
}

// TestSidecarMayHaveAPORT: as in Knative, the variable is reserved only in the container that takes requests.
func TestSidecarMayHaveAPORT(t *testing.T) {
	u := object(t, service)
	containers := object(t, container(`{image: a, ports: [{containerPort: 1}]}, {image: b, env: [{name: PORT, value: "9000"}]}`))
	u.Object["spec"] = containers.Object["spec"]
	if _, err := objects(t, shared, "services", "sidecar").Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}
