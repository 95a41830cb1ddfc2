package servingv1

import (
	"fmt"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Knative's own defaults of a revision.
const (
	// DefaultTimeoutSeconds is revision-timeout-seconds, and revision-response-start-timeout-seconds.
	DefaultTimeoutSeconds = 300
	// DefaultContainerName is container-name-template.
	DefaultContainerName = "user-container"
	// MaxTimeoutSeconds is max-revision-timeout-seconds.
	MaxTimeoutSeconds = 600
	// MaxConcurrency is container-concurrency-max-limit.
	MaxConcurrency = 1000
)

// Defaults are what new revisions get where their template is silent, and what their templates may ask for: Knative's config-defaults, and
// the features that concern templates. A Revision keeps what it got for all of its life.
//
// +kubebuilder:object:generate=false
type Defaults struct {
	// TimeoutSeconds is how long a request may take. ResponseStartTimeoutSeconds and IdleTimeoutSeconds count only when they are less
	// than the timeout of the revision; 0 is none.
	TimeoutSeconds, ResponseStartTimeoutSeconds, IdleTimeoutSeconds int64
	// ContainerConcurrency is how many requests a replica may have at a time; 0 is no limit.
	ContainerConcurrency int64
	// EnableServiceLinks is that field of pods; nil leaves it to Kubernetes.
	EnableServiceLinks *bool
	// ContainerName is the name of containers, a text/template over the metadata of the object that the revision is made for.
	ContainerName string
	// Requests and Limits are resources of each container, for those that the container does not name.
	Requests, Limits corev1.ResourceList
	// Secure says whether containers get a security context.
	Secure Secure
	// Bounds are what templates may ask for.
	Bounds Bounds
}

// Bounds are what the templates of new revisions may ask for.
//
// +kubebuilder:object:generate=false
type Bounds struct {
	// TimeoutSeconds and ContainerConcurrency are the highest values.
	TimeoutSeconds, ContainerConcurrency int64
	// NeedsConcurrency refuses a containerConcurrency of 0, which is no limit.
	NeedsConcurrency bool
	// OneContainer refuses several containers, NoEmptyDir volumes of that kind.
	OneContainer, NoEmptyDir bool
}

// Secure is a level of Knative's secure-pod-defaults.
//
// +kubebuilder:object:generate=false
type Secure string

// The levels. SecureRootAllowed sets all but runAsNonRoot.
const (
	SecureOff         Secure = ""
	SecureRootAllowed Secure = "AllowRootBounded"
	SecureOn          Secure = "Enabled"
)

// KnativeDefaults returns Knative's own defaults.
func KnativeDefaults() Defaults {
	return Defaults{
		TimeoutSeconds: DefaultTimeoutSeconds, ResponseStartTimeoutSeconds: DefaultTimeoutSeconds,
		EnableServiceLinks: new(false), ContainerName: DefaultContainerName,
		Bounds: Bounds{TimeoutSeconds: MaxTimeoutSeconds, ContainerConcurrency: MaxConcurrency},
	}
}

// Apply fills in what the user left out of a spec. parent is the metadata of the object that the revision is made for.
func (d *Defaults) Apply(s *RevisionSpec, parent metav1.ObjectMeta) {
	if s.ContainerConcurrency == nil {
		s.ContainerConcurrency = new(d.ContainerConcurrency)
	}
	if s.TimeoutSeconds == nil || *s.TimeoutSeconds == 0 {
		s.TimeoutSeconds = new(d.TimeoutSeconds)
	}
	s.ResponseStartTimeoutSeconds = within(s.ResponseStartTimeoutSeconds, d.ResponseStartTimeoutSeconds, *s.TimeoutSeconds)
	s.IdleTimeoutSeconds = within(s.IdleTimeoutSeconds, d.IdleTimeoutSeconds, *s.TimeoutSeconds)
	if s.EnableServiceLinks == nil && d.EnableServiceLinks != nil {
		s.EnableServiceLinks = new(*d.EnableServiceLinks)
	}
	s.nameContainers(d.containerName(parent))
	for i := range s.Containers {
		c := &s.Containers[i]
		c.Resources.Requests = withResources(c.Resources.Requests, d.Requests)
		c.Resources.Limits = withResources(c.Resources.Limits, d.Limits)
		d.Secure.apply(c)
	}
	if c := s.ServingContainer(); c != nil {
		c.defaultReadiness()
	}
	s.mountReadOnly()
}

// Effective returns a copy of the spec with defaults. A Revision that a Configuration made has the defaults of that time, so what may be
// absent and is, stays so. Others get Knative's own.
func (r *Revision) Effective() *RevisionSpec {
	spec := r.Spec.DeepCopy()
	spec.SetDefaults()
	if metav1.GetControllerOfNoCopy(r) != nil {
		spec.ResponseStartTimeoutSeconds, spec.IdleTimeoutSeconds = r.Spec.ResponseStartTimeoutSeconds, r.Spec.IdleTimeoutSeconds
		spec.EnableServiceLinks = r.Spec.EnableServiceLinks
	}
	return spec
}

// within returns a timeout as the user gave it, or its default where that is shorter than the whole timeout.
func within(given *int64, otherwise, timeout int64) *int64 {
	if given == nil && otherwise != 0 && otherwise < timeout {
		return new(otherwise)
	}
	return given
}

func withResources(given, more corev1.ResourceList) corev1.ResourceList {
	for name, q := range more {
		if _, ok := given[name]; ok {
			continue
		}
		if given == nil {
			given = corev1.ResourceList{}
		}
		given[name] = q.DeepCopy()
	}
	return given
}

// containerName executes the template. A template that cannot be executed, which reading the configuration refuses, gives Knative's name.
func (d *Defaults) containerName(parent metav1.ObjectMeta) string {
	if !strings.Contains(d.ContainerName, "{{") {
		return d.ContainerName
	}
	name, err := NameContainer(d.ContainerName, parent)
	if err != nil {
		return DefaultContainerName
	}
	return name
}

// NameContainer executes a template of Defaults.ContainerName.
func NameContainer(text string, parent metav1.ObjectMeta) (string, error) {
	t, err := template.New("container-name").Parse(text)
	if err != nil {
		return "", err
	}
	var name strings.Builder
	if err := t.Execute(&name, parent); err != nil {
		return "", err
	}
	return name.String(), nil
}

// lowPort is the first port that a process without privileges may listen on.
const lowPort = 1024

// apply gives a container a security context that the restricted Pod Security level accepts, in what its own leaves open, as Knative does
// (pkg/apis/serving/v1/revision_defaults.go).
func (l Secure) apply(c *Container) {
	if l == SecureOff {
		return
	}
	if c.SecurityContext == nil {
		c.SecurityContext = &SecurityContext{}
	}
	s := c.SecurityContext
	if s.AllowPrivilegeEscalation == nil {
		s.AllowPrivilegeEscalation = new(false)
	}
	if s.SeccompProfile == nil || s.SeccompProfile.Type == "" {
		s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	if s.Capabilities == nil {
		s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
		for _, p := range c.Ports {
			if p.ContainerPort != 0 && p.ContainerPort < lowPort {
				s.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
			}
		}
	}
	if l == SecureOn && s.RunAsNonRoot == nil {
		s.RunAsNonRoot = new(true)
	}
}

// Check returns what a spec with its defaults has and may not have.
func (b *Bounds) Check(s *RevisionSpec) []FieldError {
	var wrong []FieldError
	outside := func(field string, low, value, high int64) {
		wrong = append(wrong, FieldError{field, fmt.Sprintf("expected %d <= %d <= %d", low, value, high)})
	}
	if t := s.TimeoutSeconds; t != nil && *t > b.TimeoutSeconds {
		outside("timeoutSeconds", 0, *t, b.TimeoutSeconds)
	}
	if c := s.ContainerConcurrency; c != nil {
		least := int64(0)
		if b.NeedsConcurrency {
			least = 1
		}
		if *c < least || *c > b.ContainerConcurrency {
			outside("containerConcurrency", least, *c, b.ContainerConcurrency)
		}
	}
	if b.OneContainer && len(s.Containers) > 1 {
		wrong = append(wrong, FieldError{"containers", fmt.Sprintf(
			"multi-container is off, but found %d containers: expected one", len(s.Containers))})
	}
	for i := range s.Volumes {
		if b.NoEmptyDir && s.Volumes[i].EmptyDir != nil {
			wrong = append(wrong, FieldError{fmt.Sprintf("volumes[%d].emptyDir", i),
				"kubernetes.podspec-volumes-emptydir is off: expected a ConfigMap, Secret or projected volume"})
		}
	}
	return wrong
}

// FieldError is a field of a spec, and what is wrong with it.
//
// +kubebuilder:object:generate=false
type FieldError struct{ Field, Message string }
