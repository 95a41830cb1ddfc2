package deployment

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// newCluster is newBench on a real cluster, which has Sluice's CRDs. Its nodes have two images: SLUICE_QUEUE_PROXY_IMAGE, and
// SLUICE_SAMPLE_IMAGE, which listens on $PORT.
func newCluster(t *testing.T) *bench {
	t.Helper()
	proxy := os.Getenv("SLUICE_QUEUE_PROXY_IMAGE")
	if os.Getenv("KUBECONFIG") == "" || proxy == "" || os.Getenv("SLUICE_SAMPLE_IMAGE") == "" {
		t.Skip("this test needs a cluster, KUBECONFIG, whose nodes have the images SLUICE_QUEUE_PROXY_IMAGE and SLUICE_SAMPLE_IMAGE")
	}
	ctrl.SetLogger(discard)
	rest, err := config.GetConfig()
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := servingv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(rest, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), namespace); err != nil {
			t.Error(err)
		}
	})
	b := &bench{
		Client: c, t: t, config: rest, namespace: namespace.Name,
		revisions: map[model.Key]*servingv1.Revision{}, statuses: map[model.Key]model.WorkloadStatus{},
	}
	t.Cleanup(b.start(Config{QueueProxy: proxy, PullPolicy: corev1.PullNever, Quiet: time.Second}))
	return b
}

// create creates a Revision in the cluster, so that its Deployment has an owner, and returns its workload.
func (b *bench) create(name string, change func(*servingv1.Revision, *servingv1.Container)) model.Workload {
	b.t.Helper()
	r := newRevision(name)
	r.UID, r.Namespace = "", b.namespace
	r.Spec.Containers[0].Image, r.Spec.Containers[0].ImagePullPolicy = os.Getenv("SLUICE_SAMPLE_IMAGE"), corev1.PullNever
	change(r, &r.Spec.Containers[0])
	if err := b.Create(b.t.Context(), r); err != nil {
		b.t.Fatal(err)
	}
	return b.add(r)
}

func TestARevisionInACluster(t *testing.T) {
	b := newCluster(t)
	w := b.create("hello-00001", func(*servingv1.Revision, *servingv1.Container) {})
	b.run(w, 1)
	s := b.status(w, "a ready pod", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })
	t.Logf("ready after %v, the process seen after %v", s.Start.Ready.Sub(s.Start.Asked), s.Start.Started.Sub(s.Start.Asked))
	answer(t, "http://"+net.JoinHostPort(s.Ready[0].Host, strconv.Itoa(s.Ready[0].Port))+"/")
	if figures := answer(t, s.Metrics[0].URL); !strings.Contains(figures, "# TYPE") {
		t.Errorf("the metrics are %q", figures)
	}
	b.run(w, 3)
	b.status(w, "three ready pods", func(s model.WorkloadStatus) bool { return len(s.Ready) == 3 })
	b.run(w, 0)
	b.status(w, "no pod", func(s model.WorkloadStatus) bool { return s.Running == 0 })
	b.run(w, 1)
	s = b.status(w, "a ready pod again", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })
	t.Logf("ready from zero after %v, the process seen after %v", s.Start.Ready.Sub(s.Start.Asked), s.Start.Started.Sub(s.Start.Asked))
}

func TestFailuresInACluster(t *testing.T) {
	b := newCluster(t)
	for name, c := range map[string]struct {
		change        func(*servingv1.Revision, *servingv1.Container)
		reasons, part string
	}{
		"image": {reasons: "ErrImageNeverPull", part: "sluice.local/none:1", change: func(_ *servingv1.Revision, c *servingv1.Container) {
			c.Image = "sluice.local/none:1"
		}},
		"room": {reasons: "Unschedulable", part: "Insufficient cpu", change: func(_ *servingv1.Revision, c *servingv1.Container) {
			c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
		}},
		"command": {reasons: "ExitCode128 RunContainerError", part: "/none", change: func(_ *servingv1.Revision, c *servingv1.Container) {
			c.Command = []string{"/none"}
		}},
		// A queue-proxy ends, and says why, when it does not know what to do.
		"crash": {reasons: "ExitCode2", part: "must be set", change: func(_ *servingv1.Revision, c *servingv1.Container) {
			c.Image = os.Getenv("SLUICE_QUEUE_PROXY_IMAGE")
		}},
		"secret": {reasons: "CreateContainerConfigError", part: `secret "missing" not found`,
			change: func(_ *servingv1.Revision, c *servingv1.Container) {
				c.EnvFrom = []servingv1.EnvFromSource{{SecretRef: missing()}}
			}},
		"probe": {reasons: "ProgressDeadlineExceeded", part: "readiness probe",
			change: func(r *servingv1.Revision, c *servingv1.Container) {
				r.Annotations = map[string]string{servingv1.ProgressDeadlineAnnotation: "3s"}
				c.ReadinessProbe = &servingv1.Probe{TCPSocket: &servingv1.TCPSocketAction{Port: intstr.FromInt32(1)}}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w := b.create(name+"-00001", c.change)
			b.run(w, 1)
			s := b.status(w, c.reasons, func(s model.WorkloadStatus) bool {
				return s.Failure != nil && strings.Contains(c.reasons, s.Failure.Reason) && strings.Contains(s.Failure.Message, c.part)
			})
			t.Logf("%s: %s", s.Failure.Reason, s.Failure.Message)
		})
	}
	t.Run("quota", func(t *testing.T) {
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "tiny"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
		}
		if err := b.Create(t.Context(), quota); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		b.eventually("the quota in force", func() bool {
			return b.Get(t.Context(), client.ObjectKeyFromObject(quota), quota) == nil && len(quota.Status.Hard) > 0
		})
		w := b.create("quota-00001", func(*servingv1.Revision, *servingv1.Container) {})
		b.run(w, 1)
		s := b.status(w, "FailedCreate",
			func(s model.WorkloadStatus) bool { return s.Failure != nil && s.Failure.Reason == "FailedCreate" })
		t.Logf("%s: %s", s.Failure.Reason, s.Failure.Message)
	})
}

func missing() *corev1.SecretEnvSource {
	return &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "missing"}}
}

func answer(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %d %q, %v", url, response.StatusCode, body, err)
	}
	return string(body)
}
