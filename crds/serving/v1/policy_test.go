package servingv1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func spec(containers ...Container) *RevisionSpec {
	return &RevisionSpec{PodSpec: PodSpec{Containers: containers}}
}

func TestTimeoutsCountOnlyWhenShorterThanTheWhole(t *testing.T) {
	for name, c := range map[string]struct {
		responseStart, idle int64 // defaults
		timeout             int64 // given
		given               *int64
		want                [2]*int64
	}{
		"shorter":        {100, 50, 200, nil, [2]*int64{new(int64(100)), new(int64(50))}},
		"as long":        {200, 200, 200, nil, [2]*int64{nil, nil}},
		"none":           {0, 0, 200, nil, [2]*int64{nil, nil}},
		"given":          {100, 50, 200, new(int64(7)), [2]*int64{new(int64(7)), new(int64(50))}},
		"switched off":   {100, 50, 200, new(int64(0)), [2]*int64{new(int64(0)), new(int64(50))}},
		"with a default": {100, 299, 0, nil, [2]*int64{new(int64(100)), new(int64(299))}},
	} {
		d := KnativeDefaults()
		d.ResponseStartTimeoutSeconds, d.IdleTimeoutSeconds = c.responseStart, c.idle
		s := spec(Container{})
		s.TimeoutSeconds, s.ResponseStartTimeoutSeconds = &c.timeout, c.given
		d.Apply(s, metav1.ObjectMeta{})
		if diff := cmp.Diff(c.want, [2]*int64{s.ResponseStartTimeoutSeconds, s.IdleTimeoutSeconds}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDefaultsFillInWhatContainersLeaveOut(t *testing.T) {
	d := KnativeDefaults()
	d.EnableServiceLinks = nil
	d.ContainerName = "{{.Name}}-in-{{.Namespace}}"
	d.Requests = corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi")}
	own := corev1.ResourceList{"cpu": resource.MustParse("2")}
	s := spec(Container{Ports: []ContainerPort{{ContainerPort: 8080}}},
		Container{Name: "side", Resources: ResourceRequirements{Requests: own}})
	d.Apply(s, metav1.ObjectMeta{Name: "hello", Namespace: "here"})
	if got, want := s.Containers[0].Name, "hello-in-here-0"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	if diff := cmp.Diff(d.Requests, s.Containers[0].Resources.Requests); diff != "" {
		t.Errorf("requests of the first (-want +got):\n%s", diff)
	}
	want := corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")}
	if diff := cmp.Diff(want, s.Containers[1].Resources.Requests); diff != "" {
		t.Errorf("requests of the second (-want +got):\n%s", diff)
	}
	if s.Containers[0].Resources.Limits != nil || s.EnableServiceLinks != nil {
		t.Errorf("limits %v, service links %v; want none", s.Containers[0].Resources.Limits, s.EnableServiceLinks)
	}
	again := s.DeepCopy()
	d.Apply(again, metav1.ObjectMeta{Name: "another"})
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("applied twice (-once +twice):\n%s", diff)
	}
}

func TestSecureDefaults(t *testing.T) {
	restricted := func() *SecurityContext {
		return &SecurityContext{
			AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
	}
	root, low := restricted(), restricted()
	root.RunAsNonRoot = nil
	low.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
	given := &SecurityContext{AllowPrivilegeEscalation: new(true), RunAsNonRoot: new(false), Capabilities: &corev1.Capabilities{}}
	kept := given.DeepCopy()
	kept.SeccompProfile = restricted().SeccompProfile
	for name, c := range map[string]struct {
		level     Secure
		container Container
		want      *SecurityContext
	}{
		"off":            {SecureOff, Container{}, nil},
		"on":             {SecureOn, Container{}, restricted()},
		"root allowed":   {SecureRootAllowed, Container{}, root},
		"a low port":     {SecureOn, Container{Ports: []ContainerPort{{ContainerPort: 80}}}, low},
		"the default":    {SecureOn, Container{Ports: []ContainerPort{{Name: "h2c"}}}, restricted()},
		"what was given": {SecureOn, Container{SecurityContext: given}, kept},
	} {
		d := KnativeDefaults()
		d.Secure = c.level
		s := spec(c.container)
		d.Apply(s, metav1.ObjectMeta{})
		if diff := cmp.Diff(c.want, s.Containers[0].SecurityContext); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestBounds(t *testing.T) {
	with := func(timeout, concurrency int64, s *RevisionSpec) *RevisionSpec {
		s.TimeoutSeconds, s.ContainerConcurrency = &timeout, &concurrency
		return s
	}
	knative := KnativeDefaults().Bounds
	for name, c := range map[string]struct {
		bounds Bounds
		spec   *RevisionSpec
		want   []FieldError
	}{
		"inside":       {knative, with(600, 1000, spec(Container{}, Container{})), nil},
		"nothing said": {knative, spec(Container{}), nil},
		"too long":     {knative, with(601, 0, spec(Container{})), []FieldError{{"timeoutSeconds", "expected 0 <= 601 <= 600"}}},
		"too many": {knative, with(1, 1001, spec(Container{})),
			[]FieldError{{"containerConcurrency", "expected 0 <= 1001 <= 1000"}}},
		"no limit": {Bounds{600, 1000, true, false, false}, with(1, 0, spec(Container{})),
			[]FieldError{{"containerConcurrency", "expected 1 <= 0 <= 1000"}}},
		"several containers": {Bounds{600, 1000, false, true, false}, with(1, 1, spec(Container{}, Container{})),
			[]FieldError{{"containers", "multi-container is off, but found 2 containers: expected one"}}},
		"an empty directory": {Bounds{600, 1000, false, false, true},
			&RevisionSpec{PodSpec: PodSpec{Volumes: []Volume{{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}},
			[]FieldError{{"volumes[0].emptyDir",
				"kubernetes.podspec-volumes-emptydir is off: expected a ConfigMap, Secret or projected volume"}}},
		"several are all there": {Bounds{10, 10, false, false, false}, with(11, 11, spec(Container{})),
			[]FieldError{{"timeoutSeconds", "expected 0 <= 11 <= 10"}, {"containerConcurrency", "expected 0 <= 11 <= 10"}}},
	} {
		if diff := cmp.Diff(c.want, c.bounds.Check(c.spec)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEffectiveLeavesOutWhatAConfigurationLeftOut(t *testing.T) {
	r := &Revision{Spec: *spec(Container{})}
	r.Spec.TimeoutSeconds = new(int64(600))
	if got := r.Effective(); *got.ResponseStartTimeoutSeconds != DefaultTimeoutSeconds || *got.EnableServiceLinks {
		t.Errorf("a Revision of a user is %+v, want Knative's defaults", got)
	}
	r.OwnerReferences = []metav1.OwnerReference{{Kind: KindConfiguration, Controller: new(true)}}
	got := r.Effective()
	if got.ResponseStartTimeoutSeconds != nil || got.EnableServiceLinks != nil || *got.ContainerConcurrency != 0 {
		t.Errorf("a Revision of a Configuration is %+v, want no other timeout and no word on service links", got)
	}
}
