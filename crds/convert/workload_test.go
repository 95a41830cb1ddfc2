package convert

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// revision returns a Revision of one container after change.
func revision(change func(*servingv1.RevisionSpec)) *servingv1.Revision {
	r := RevisionOf(made(3), "hello-00003", &knative)
	r.UID = "v"
	r.Spec = servingv1.RevisionSpec{PodSpec: servingv1.PodSpec{Containers: []servingv1.Container{{Image: "img"}}}}
	if change != nil {
		change(&r.Spec)
	}
	r.Spec.SetDefaults()
	return r
}

var injected = []model.EnvVar{
	{Name: "K_REVISION", Value: "hello-00003"}, {Name: "K_CONFIGURATION", Value: "hello"}, {Name: "K_SERVICE", Value: "hello"},
}

func TestWorkloadHasDefaults(t *testing.T) {
	w, problems := Workload(revision(nil))
	check(t, "problems", problems, []model.Problem(nil))
	check(t, "workload", w, model.Workload{
		Revision: model.Key{Namespace: "default", Name: "hello-00003"}, UID: "v", Service: "hello", Configuration: "hello", Generation: "3",
		Protocol: model.HTTP1, CPU: 1000, Timeout: 300 * time.Second, StreamDrain: 300 * time.Second,
		Containers: []model.Container{{
			Name: "user-container", Image: "img", Port: 8080, Env: append(injected[:3:3], model.EnvVar{Name: "PORT", Value: "8080"}),
			Readiness: &model.Probe{TCP: true, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 3},
			Limits:    map[string]string{},
		}},
	})
}

func TestWorkloadSaysWhatTheSpecSays(t *testing.T) {
	r := revision(func(s *servingv1.RevisionSpec) {
		s.ContainerConcurrency, s.TimeoutSeconds, s.IdleTimeoutSeconds = new(int64(7)), new(int64(600)), new(int64(5))
		s.Containers = []servingv1.Container{
			{Name: "side", Image: "s",
				LivenessProbe: &servingv1.Probe{HTTPGet: &servingv1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(9000)}}},
			{
				Name: "app", Image: "a", Command: []string{"run"}, Args: []string{"-v"}, WorkingDir: "/srv",
				Ports:     []servingv1.ContainerPort{{Name: "h2c", ContainerPort: 9000}},
				Env:       []servingv1.EnvVar{{Name: "TARGET", Value: "you"}},
				Resources: servingv1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("500m")}},
				ReadinessProbe: &servingv1.Probe{
					HTTPGet: &servingv1.HTTPGetAction{
						Path: "/healthz", Port: intstr.FromString("h2c"), Scheme: "HTTP",
						HTTPHeaders: []corev1.HTTPHeader{{Name: "X", Value: "y"}},
					},
					PeriodSeconds: 2,
				},
				LivenessProbe: &servingv1.Probe{GRPC: &servingv1.GRPCAction{Port: 9000, Service: new("health")}},
				StartupProbe: &servingv1.Probe{
					Exec: &corev1.ExecAction{Command: []string{"true"}}, FailureThreshold: 30, InitialDelaySeconds: 1,
				},
			},
		}
	})
	r.Annotations[servingv1.ProgressDeadlineAnnotation] = "120s"
	w, problems := Workload(r)
	check(t, "problems", problems, []model.Problem(nil))
	check(t, "protocol", w.Protocol, model.H2C)
	check(t, "concurrency", w.Concurrency, 7)
	check(t, "times", []time.Duration{w.Timeout, w.ResponseStart, w.Idle, w.ProgressDeadline},
		[]time.Duration{600 * time.Second, 300 * time.Second, 5 * time.Second, 120 * time.Second})
	check(t, "containers, the serving one first", w.Containers, []model.Container{
		{
			Name: "app", Image: "a", Command: []string{"run"}, Args: []string{"-v"}, WorkingDir: "/srv", Port: 9000,
			Env:    append(append([]model.EnvVar{{Name: "TARGET", Value: "you"}}, injected...), model.EnvVar{Name: "PORT", Value: "9000"}),
			Limits: map[string]string{"cpu": "500m"},
			Readiness: &model.Probe{
				HTTP:   &model.HTTPProbe{Path: "/healthz", Scheme: "HTTP", Headers: []model.EnvVar{{Name: "X", Value: "y"}}},
				Period: 2 * time.Second, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 3,
			},
			Liveness: &model.Probe{
				GRPC: &model.GRPCProbe{Service: "health"}, Period: 10 * time.Second, Timeout: time.Second, SuccessThreshold: 1,
				FailureThreshold: 3,
			},
			Startup: &model.Probe{
				Exec: []string{"true"}, Period: 10 * time.Second, InitialDelay: time.Second, Timeout: time.Second, SuccessThreshold: 1,
				FailureThreshold: 30,
			},
		},
		{
			Name: "side", Image: "s", Env: injected, Limits: map[string]string{},
			Liveness: &model.Probe{
				HTTP: &model.HTTPProbe{Path: "/"}, Period: 10 * time.Second, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 3,
			},
		},
	})
}

func TestProbePort(t *testing.T) {
	for name, c := range map[string]struct {
		port    intstr.IntOrString
		want    int
		problem bool
	}{
		"the container's by default": {intstr.IntOrString{}, 0, false},
		"the container's by number":  {intstr.FromInt32(8080), 0, false},
		"the container's by name":    {intstr.FromString("http1"), 0, false},
		"another":                    {intstr.FromInt32(9999), 9999, false},
		"an unknown name":            {intstr.FromString("admin"), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, problems := Workload(revision(func(s *servingv1.RevisionSpec) {
				s.Containers[0].Ports = []servingv1.ContainerPort{{Name: "http1"}}
				s.Containers[0].ReadinessProbe = &servingv1.Probe{TCPSocket: &servingv1.TCPSocketAction{Port: c.port}}
			}))
			check(t, "port", w.Containers[0].Readiness.Port, c.want)
			if c.problem != (len(problems) == 1) {
				t.Errorf("problems = %v", problems)
			}
		})
	}
}

func TestProcessProblemsNameWhatOneMachineLacks(t *testing.T) {
	yes := new(true)
	for name, c := range map[string]struct {
		change func(*servingv1.RevisionSpec)
		reason string
	}{
		"a value in a Secret": {func(s *servingv1.RevisionSpec) {
			s.Containers[0].Env = []servingv1.EnvVar{
				{Name: "A", ValueFrom: &servingv1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}},
			}
		}, "EnvUnavailable"},
		"an optional value": {func(s *servingv1.RevisionSpec) {
			s.Containers[0].Env = []servingv1.EnvVar{
				{Name: "A", ValueFrom: &servingv1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Optional: yes}}},
			}
		}, ""},
		"all of a ConfigMap": {func(s *servingv1.RevisionSpec) {
			s.Containers[0].EnvFrom = []servingv1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}}
		}, "EnvUnavailable"},
		"an optional ConfigMap": {func(s *servingv1.RevisionSpec) {
			s.Containers[0].EnvFrom = []servingv1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{Optional: yes}}}
		}, ""},
		"a volume of a Secret": {func(s *servingv1.RevisionSpec) {
			s.Volumes = []servingv1.Volume{{Name: "v", Secret: &corev1.SecretVolumeSource{}}}
		}, "VolumeUnavailable"},
		"an optional volume": {func(s *servingv1.RevisionSpec) {
			s.Volumes = []servingv1.Volume{{Name: "v", Secret: &corev1.SecretVolumeSource{Optional: yes}}}
		}, ""},
		"an init container": {func(s *servingv1.RevisionSpec) {
			s.InitContainers = []servingv1.InitContainer{{Name: "first", Image: "init"}}
		}, "FieldUnavailable"},
		"an empty directory": {func(s *servingv1.RevisionSpec) {
			s.Volumes = []servingv1.Volume{{Name: "v", EmptyDir: &corev1.EmptyDirVolumeSource{}}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if problems := ProcessProblems(revision(c.change)); len(problems) > 0 {
				got = problems[0].Reason
			}
			check(t, "reason", got, c.reason)
			_, problems := Workload(revision(c.change))
			check(t, "problems of any runtime", problems, []model.Problem(nil))
		})
	}
}

func TestARevisionWithoutAServingContainerIsAProblemOfAnyRuntime(t *testing.T) {
	_, problems := Workload(revision(func(s *servingv1.RevisionSpec) {
		s.Containers = []servingv1.Container{{Name: "a"}, {Name: "b"}}
	}))
	if len(problems) != 1 || problems[0].Reason != "NoServingContainer" {
		t.Errorf("problems = %v, want NoServingContainer", problems)
	}
}

func TestScaled(t *testing.T) {
	r := revision(nil)
	r.Labels[servingv1.RoutingStateLabel] = "reserve"
	maps.Copy(r.Annotations, map[string]string{
		servingv1.RoutingStateModifiedAnnotation: epoch.Format(time.RFC3339),
		servingv1.MetricsSourceAnnotation:        "envoy",
		servingv1.StreamDrainAnnotation:          "7",
	})
	s := Scaled(r)
	check(t, "before it was scaled", s.Before, model.Before{Replicas: model.UnknownReplicas})
	check(t, "source", s.Source, model.FromEnvoy)
	check(t, "unreachable", s.Unreachable, true)
	w, _ := Workload(r)
	check(t, "streams", w.StreamDrain, 7*time.Second)
	check(t, "the end of streams", w.StreamDeadline.Equal(epoch.Truncate(time.Second).Add(8*time.Second)), true)

	r.Status.DesiredReplicas = new(int32(3))
	r.Status.Conditions = Conditions(nil, []model.Condition{
		{Type: model.ResourcesAvailable, Status: model.True}, {Type: model.Active, Status: model.False, Reason: "NoTraffic"},
	}, epoch)
	before := Scaled(r).Before
	check(t, "since", before.Since.Equal(epoch), true)
	before.Since = time.Time{}
	check(t, "before", before, model.Before{Replicas: 3, Active: model.False, Initialized: true})
}

func TestScalingAnnotationsThatCannotBeRead(t *testing.T) {
	for key, values := range map[string][]string{
		servingv1.MetricsSourceAnnotation: {"prometheus", "Envoy"},
		servingv1.StreamDrainAnnotation:   {"-1", "3601", "5s", "many"},
	} {
		for _, value := range values {
			r := revision(nil)
			r.Annotations[key] = value
			w, _ := Workload(r)
			if w.Direct || w.StreamDrain != 300*time.Second || Scaled(r).Source != model.FromQueueProxy {
				t.Errorf("%s %q: %+v, want the defaults", key, value, w)
			}
			if problems := RevisionProblems(r); len(problems) != 1 {
				t.Errorf("%s %q: problems = %v, want one", key, value, problems)
			}
		}
	}
}

func TestImagesOfTheStatus(t *testing.T) {
	r := revision(nil)
	check(t, "resolved", Resolved(r), false)
	SetImages(r, nil)
	check(t, "statuses", r.Status.ContainerStatuses, []servingv1.ContainerStatus{{Name: "user-container", ImageDigest: "img"}})
	check(t, "resolved", Resolved(r), true)
	r.Spec.InitContainers = []servingv1.InitContainer{{Name: "first", Image: "init"}}
	check(t, "resolved", Resolved(r), false)
	SetImages(r, map[string]string{"user-container": "img@sha256:1", "first": "init@sha256:2"})
	check(t, "statuses by digest", r.Status.ContainerStatuses,
		[]servingv1.ContainerStatus{{Name: "user-container", ImageDigest: "img@sha256:1"}})
	check(t, "init containers", r.Status.InitContainerStatuses, []servingv1.ContainerStatus{{Name: "first", ImageDigest: "init@sha256:2"}})
	check(t, "resolved", Resolved(r), true)
	w, _ := Workload(r)
	check(t, "image", w.Containers[0].Image, "img@sha256:1")
	check(t, "image of the init container", w.Init, []model.Container{{Name: "first", Image: "init@sha256:2"}})
	r.Status.ContainerStatuses[0].ImageDigest = "" // as Knative writes it where it does not resolve a tag
	w, _ = Workload(r)
	check(t, "image by tag", w.Containers[0].Image, "img")
}

func TestFieldsThatNeedAFeature(t *testing.T) {
	r := revision(func(s *servingv1.RevisionSpec) {
		s.InitContainers = []servingv1.InitContainer{{Name: "first", Image: "init"}}
		s.NodeSelector = map[string]string{"disk": "ssd"}
	})
	for what, c := range map[string]struct {
		enabled func(string) bool
		want    []string
	}{
		"none is enabled": {nil, []string{
			"must not set the field(s): spec.initContainers: it needs the feature kubernetes.podspec-init-containers of config-features, " +
				"which is not enabled",
			"must not set the field(s): spec.nodeSelector: it needs the feature kubernetes.podspec-nodeselector of config-features, " +
				"which is not enabled",
		}},
		"one is enabled": {func(f string) bool { return f == "kubernetes.podspec-nodeselector" }, []string{
			"must not set the field(s): spec.initContainers: it needs the feature kubernetes.podspec-init-containers of config-features, " +
				"which is not enabled",
		}},
		"all are enabled": {func(string) bool { return true }, nil},
	} {
		var got []string
		for _, p := range FeatureProblems(r, c.enabled) {
			got = append(got, p.Message)
		}
		check(t, what, got, c.want)
	}
	check(t, "a plain revision", FeatureProblems(revision(nil), nil), []model.Problem(nil))
}
