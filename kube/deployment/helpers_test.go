package deployment

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/kubeapi"
)

// newRevision returns a Revision of a Service, with one container.
func newRevision(name string) *servingv1.Revision {
	return &servingv1.Revision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-of-" + name),
			Labels: map[string]string{servingv1.ServiceLabel: "hello", servingv1.ConfigurationLabel: "hello"},
		},
		Spec: servingv1.RevisionSpec{PodSpec: servingv1.PodSpec{Containers: []servingv1.Container{{Image: "example.org/hello"}}}},
	}
}

// bench is a Runtime on a real API server. There is no controller of Deployments and no kubelet: the test creates pods and says what
// becomes of them.
type bench struct {
	client.Client
	t         *testing.T
	config    *rest.Config
	runtime   *Runtime
	namespace string

	mu        sync.Mutex
	revisions map[model.Key]*servingv1.Revision
	statuses  map[model.Key]model.WorkloadStatus
}

// discard is where controller-runtime logs.
var discard = logr.Discard()

func TestMain(m *testing.M) { kubeapi.Main(m) }

func newBench(t *testing.T) *bench {
	t.Helper()
	server := kubeapi.Start(t)
	c, err := client.New(server, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	b := &bench{
		Client: c, t: t, config: server, namespace: namespace.Name,
		revisions: map[model.Key]*servingv1.Revision{}, statuses: map[model.Key]model.WorkloadStatus{},
	}
	t.Cleanup(b.start(testConfig()))
	return b
}

// start starts a Runtime; the function that it returns stops it.
func (b *bench) start(pods Config) (stop func()) { return b.startWith(Options{Pods: pods}) }

// startWith starts a Runtime with options to which it adds what the bench has.
func (b *bench) startWith(o Options) (stop func()) {
	b.t.Helper()
	o.Config = b.config
	o.Status = func(s model.WorkloadStatus) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.statuses[s.Revision] = s
	}
	o.Revision = func(key model.Key) *servingv1.Revision {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.revisions[key]
	}
	r, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.runtime = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Start(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
	})
}

// add makes a Revision known, and returns its workload.
func (b *bench) add(r *servingv1.Revision) model.Workload {
	r.Namespace = b.namespace
	w := workloadOf(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revisions[w.Revision] = r
	return w
}

// run runs a workload with some replicas.
func (b *bench) run(w model.Workload, replicas int) {
	w.Replicas = replicas
	b.runtime.Run(w)
}

// deployment waits until the Deployment of a workload fulfils a condition.
func (b *bench) deployment(w model.Workload, what string, ok func(*appsv1.Deployment) bool) *appsv1.Deployment {
	b.t.Helper()
	d := &appsv1.Deployment{}
	b.eventually(what, func() bool {
		d = &appsv1.Deployment{}
		err := b.Get(b.t.Context(), client.ObjectKey{Namespace: b.namespace, Name: Name(w.Revision.Name)}, d)
		return err == nil && ok(d)
	})
	return d
}

func hasReplicas(n int32) func(*appsv1.Deployment) bool {
	return func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == n }
}

// pod creates a pod of a Deployment, as its controller would, and gives it a status.
func (b *bench) pod(d *appsv1.Deployment, status corev1.PodStatus) *corev1.Pod {
	b.t.Helper()
	pod := &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
	pod.Namespace, pod.GenerateName = b.namespace, d.Name+"-"
	pod.Spec.NodeName = "node" // so that it has a grace period
	if err := b.Create(b.t.Context(), pod); err != nil {
		b.t.Fatal(err)
	}
	b.become(pod, status)
	return pod
}

// become gives a pod another status, as the kubelet would.
func (b *bench) become(pod *corev1.Pod, status corev1.PodStatus) {
	b.t.Helper()
	pod.Status = status
	if err := b.Status().Update(b.t.Context(), pod); err != nil {
		b.t.Fatal(err)
	}
}

// status waits until the last reported status of a workload fulfils a condition.
func (b *bench) status(w model.Workload, what string, ok func(model.WorkloadStatus) bool) model.WorkloadStatus {
	b.t.Helper()
	var last model.WorkloadStatus
	b.eventually(what, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		last = b.statuses[w.Revision]
		return last.UID == w.UID && ok(last)
	})
	return last
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.statuses {
		b.t.Logf("the last status is %+v, the failure %+v", s, s.Failure)
	}
	b.t.Fatalf("never: %s", what)
}

// ready is the status of a pod that takes requests.
func ready(ip string) corev1.PodStatus {
	return corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "user-container", Ready: true,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
		}},
	}
}
