package deployment

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Config is what all pods have in common, whatever their revision. A change of it replaces the pods of all revisions.
type Config struct {
	// QueueProxy is the image of the sidecar, and PullPolicy how the kubelet gets it; empty leaves that to Kubernetes.
	QueueProxy string
	PullPolicy corev1.PullPolicy
	// Resources of the sidecar. Annotations of a revision (queue.sidecar.serving.knative.dev/…) replace single ones.
	Resources corev1.ResourceRequirements
	// ActivatorKey is the key with which queue-proxies check what activators and the controller prove, as text. It is no secret. A Runtime
	// sets it.
	ActivatorKey string
	// Quiet is for how long a draining pod must get no request before it ends; 0 means 30 s, as in Knative.
	Quiet time.Duration
	// ProgressDeadline is how long a revision may take to become ready when it does not say; 0 means 600 s, as in Knative.
	ProgressDeadline time.Duration
	// NoSpread leaves it to the scheduler which nodes pods run on. Without it, a pod prefers nodes that have no pod of its revision yet.
	NoSpread bool
	// RuntimeClasses are classes of pods, the most specific one first: the first one that selects a revision is its class.
	RuntimeClasses []RuntimeClass
	// AlwaysSchedulable says that a pod that no node can take yet is no failure, such as where nodes are added on demand. No pod changes.
	AlwaysSchedulable bool
	// Tracing says where queue-proxies send spans.
	Tracing model.Tracing
}

// RuntimeClass is a RuntimeClass of the cluster for the revisions that have all labels of Selector.
type RuntimeClass struct {
	Name     string
	Selector map[string]string
}

func (c Config) runtimeClass(labels map[string]string) *string {
	for _, class := range c.RuntimeClasses {
		selects := true
		for label, value := range class.Selector {
			have, ok := labels[label]
			selects = selects && ok && have == value
		}
		if selects {
			return &class.Name
		}
	}
	return nil
}

const (
	defaultQuiet            = 30 * time.Second
	defaultProgressDeadline = 600 * time.Second
)

// HashAnnotation on a Deployment is a hash of the spec that Deployment made, so that changes of others, such as the defaults that the API
// server fills in, are not taken for changes of ours. Knative has a label of this name.
const HashAnnotation = servingv1.Group + "/deployment-hash"

// volatile are the labels and annotations of a Revision that change during its life. Pods do not get them: a change would replace the
// pods.
var volatile = []string{
	servingv1.RoutingStateLabel, servingv1.RoutingStateModifiedAnnotation, servingv1.RoutesAnnotation, servingv1.NoGCAnnotation,
	servingv1.LastAppliedAnnotation, servingv1.Group + "/lastPinned", servingv1.TemplateAnnotation,
}

// Deployment returns the Deployment of a revision: Knative's, with the differences that docs/decisions/0029 lists. What convert.Workload
// resolves is taken from w (names, images, limits of requests, protocol, replicas), and what only pods have from r (volumes, resources,
// where values of variables are kept, accounts). An error is a mistake of the user in r.
func Deployment(w model.Workload, r *servingv1.Revision, c Config) (*appsv1.Deployment, error) {
	pod, err := podSpec(w, r, c)
	if err != nil {
		return nil, err
	}
	deadline := cmp.Or(w.ProgressDeadline, c.ProgressDeadline, defaultProgressDeadline)
	labels, annotations := without(r.Labels, volatile), without(r.Annotations, volatile)
	labels[servingv1.RevisionLabel], labels[servingv1.RevisionUIDLabel] = w.Revision.Name, w.UID
	if labels["app"] == "" {
		labels["app"] = w.Revision.Name
	}
	forPods := maps.Clone(annotations)
	forPods["kubectl.kubernetes.io/default-container"] = w.Containers[0].Name
	d := &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Revision.Namespace, Name: Name(w.Revision.Name), Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{ownerOf(r)},
		},
		Spec: appsv1.DeploymentSpec{
			Selector:                &metav1.LabelSelector{MatchLabels: map[string]string{servingv1.RevisionUIDLabel: w.UID}},
			ProgressDeadlineSeconds: new(int32(wholeSeconds(deadline))),
			RevisionHistoryLimit:    new(int32(0)),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: new(intstr.FromInt32(0))},
			},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: forPods}, Spec: *pod},
		},
	}
	hash, err := hashOf(&d.Spec)
	if err != nil {
		return nil, err
	}
	d.Annotations[HashAnnotation] = hash
	d.Spec.Replicas = new(int32(w.Replicas))
	return d, nil
}

// ownerOf is what an object that belongs to a Revision says of it.
func ownerOf(r *servingv1.Revision) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: servingv1.GroupVersion.String(), Kind: servingv1.KindRevision, Name: r.Name, UID: r.UID,
		Controller: new(true), BlockOwnerDeletion: new(true),
	}
}

// Name returns the name of a revision's Deployment, which is the one that Knative gives. Of a long name of a revision it keeps the
// beginning, and a hash.
func Name(revision string) string {
	const suffix, longest = "-deployment", 63
	if len(revision) <= longest-len(suffix) {
		return revision + suffix
	}
	hash := md5.Sum([]byte(revision))
	return fmt.Sprintf("%s%x%s", revision[:longest-2*md5.Size-len(suffix)], hash, suffix)
}

// podSpec returns the spec of a revision's pods.
func podSpec(w model.Workload, r *servingv1.Revision, c Config) (*corev1.PodSpec, error) {
	spec := r.Effective()
	pod, err := same[corev1.PodSpec](spec.PodSpec)
	if err != nil {
		return nil, err
	}
	serving := -1
	for i := range spec.Containers {
		if spec.ServingContainer() == &spec.Containers[i] {
			serving = i
		}
	}
	if serving < 0 || len(w.Containers) == 0 {
		return nil, fmt.Errorf("revision %s has no container with ports: want one port on the container that takes requests", w.Revision)
	}
	readiness := pod.Containers[serving].ReadinessProbe
	for i := range pod.Containers {
		complete(&pod.Containers[i], w, i == serving)
	}
	useImages(pod.Containers, w.Containers)
	useImages(pod.InitContainers, w.Init)
	for i := range pod.InitContainers {
		pod.InitContainers[i].Env = append(pod.InitContainers[i].Env, identity(w)...)
	}
	if !w.Direct {
		pod.Containers[serving].ReadinessProbe = onlyExec(readiness)
		sidecar, err := queueProxy(w, r.Annotations, readiness, c)
		if err != nil {
			return nil, err
		}
		pod.Containers = append(pod.Containers, sidecar)
	}
	pod.TerminationGracePeriodSeconds = new(wholeSeconds(max(w.Timeout, w.StreamDrain) + c.beforeEnd(w)))
	c.place(pod, r)
	return pod, nil
}

// place says which nodes a pod prefers and which class runs it, where the Revision does not.
func (c Config) place(pod *corev1.PodSpec, r *servingv1.Revision) {
	if pod.Affinity == nil && !c.NoSpread {
		pod.Affinity = spread(r.Name)
	}
	if pod.RuntimeClassName == nil {
		pod.RuntimeClassName = c.runtimeClass(r.Labels)
	}
}

// useImages gives containers the images that the Workload has. The Revision in the cache may not have those in its status yet.
func useImages(containers []corev1.Container, images []model.Container) {
	for i := range containers {
		of := func(c model.Container) bool { return c.Name == containers[i].Name }
		if j := slices.IndexFunc(images, of); j >= 0 {
			containers[i].Image = images[j].Image
		}
	}
}

// spread prefers nodes that have no pod of the revision yet.
func spread(revision string) *corev1.Affinity {
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight: 100,
			PodAffinityTerm: corev1.PodAffinityTerm{
				TopologyKey:   corev1.LabelHostname,
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{servingv1.RevisionLabel: revision}},
			},
		}},
	}}
}

// beforeEnd is for how long a pod that ends may still get requests.
func (c Config) beforeEnd(w model.Workload) time.Duration {
	if w.Direct {
		return lingering * time.Second
	}
	return c.quiet()
}

func (c Config) quiet() time.Duration { return cmp.Or(c.Quiet, defaultQuiet) }

// same returns a value of our API as the type of Kubernetes that it is a part of. Both have the same JSON, so a new field of the API needs
// nothing here; one that pods do not have is an error.
func same[T any](part any) (*T, error) {
	data, err := json.Marshal(part)
	if err != nil {
		return nil, fmt.Errorf("making a pod: %w", err)
	}
	whole := new(T)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(whole); err != nil {
		return nil, fmt.Errorf("making a pod: %w", err)
	}
	return whole, nil
}

// hashOf leaves out labels and annotations. Users may change those of a Revision, and a change in pods would replace them. What concerns
// pods, such as the resources of the sidecar, is in the rest of the spec.
func hashOf(spec *appsv1.DeploymentSpec) (string, error) {
	bare := *spec
	bare.Template.ObjectMeta = metav1.ObjectMeta{}
	data, err := json.Marshal(bare)
	if err != nil {
		return "", fmt.Errorf("making a Deployment: %w", err)
	}
	h := fnv.New64a()
	_, _ = h.Write(data) // a hash takes everything
	return strconv.FormatUint(h.Sum64(), 36), nil
}

// without returns a copy that lacks some keys.
func without(m map[string]string, keys []string) map[string]string {
	out := make(map[string]string, len(m)+3)
	maps.Copy(out, m)
	for _, key := range keys {
		delete(out, key)
	}
	return out
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
