package binding

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"sluice.dev/sluice/crds"
	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	kubeapi.Main(m)
}

// patience bounds the wait for what must happen on a machine that is fully loaded.
const patience = 2 * time.Minute

// bench is an API server of Kubernetes with the controller, and a runner that only remembers.
type bench struct {
	client.Client
	t          *testing.T
	controller *Controller
	namespace  string // of this test

	mu      sync.Mutex
	scalers map[model.Key]model.Scaler
}

func newBench(t *testing.T) *bench {
	t.Helper()
	definitions, err := crds.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	api := kubeapi.Start(t, definitions...)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{servingv1.AddToScheme, clientgoscheme.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	m, err := ctrl.NewManager(api, ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, scalers: map[model.Key]model.Scaler{}}
	b.controller = New(Options{
		Logger: hclog.NewNullLogger(), Secrets: true, Events: true,
		Set:    func(s model.Scaler) { b.mu.Lock(); defer b.mu.Unlock(); b.scalers[s.Key] = s },
		Remove: func(key model.Key) { b.mu.Lock(); defer b.mu.Unlock(); delete(b.scalers, key) },
		CheckTLS: func(t model.ClientTLS) string {
			if t.Chain == "broken" {
				return "the client's certificate cannot be used"
			}
			return ""
		},
	})
	if err := b.controller.SetUp(m); err != nil {
		t.Fatal(err)
	}
	if b.Client, err = client.New(api, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bindings-"}}
	if err := b.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	b.namespace = namespace.Name
	ctx := t.Context()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-done })
	return b
}

func (b *bench) create(objects ...client.Object) {
	b.t.Helper()
	for _, o := range objects {
		o.SetNamespace(b.namespace)
		if err := b.Create(b.t.Context(), o); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) eventually(what string, holds func() (bool, string)) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ok, is := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within %v; there is %s", what, patience, is)
		}
	}
}

// follow waits until exactly these revisions follow a binding.
func (b *bench) follow(name string, revisions ...string) model.Scaler {
	b.t.Helper()
	var s model.Scaler
	b.eventually(fmt.Sprintf("%s is followed by %v", name, revisions), func() (bool, string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		var known bool
		s, known = b.scalers[model.Key{Namespace: b.namespace, Name: name}]
		var names []string
		for _, r := range s.Revisions {
			names = append(names, r.Revision.Name)
		}
		return known && slices.Equal(names, revisions), fmt.Sprint(names)
	})
	return s
}

// says waits until the condition Ready of a binding has a reason, and returns the binding.
func (b *bench) says(name, reason, part string) *autoscalingv1alpha1.ScalerBinding {
	b.t.Helper()
	o := &autoscalingv1alpha1.ScalerBinding{}
	b.eventually(name+" says "+reason, func() (bool, string) {
		if err := b.Get(b.t.Context(), client.ObjectKey{Namespace: b.namespace, Name: name}, o); err != nil {
			return false, err.Error()
		}
		c := meta.FindStatusCondition(o.Status.Conditions, "Ready")
		return c != nil && c.Reason == reason && strings.Contains(c.Message, part) && o.Status.ObservedGeneration == o.Generation,
			fmt.Sprintf("%+v", o.Status)
	})
	return o
}

func service(name string, labels map[string]string) *servingv1.Service {
	template := servingv1.RevisionTemplate{Spec: servingv1.RevisionSpec{PodSpec: servingv1.PodSpec{
		Containers: []servingv1.Container{{Image: "example.org/app"}},
	}}}
	return &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       servingv1.ServiceSpec{ConfigurationSpec: servingv1.ConfigurationSpec{Template: template}},
	}
}

func revision(name, of, state string) *servingv1.Revision {
	s := service(of, nil)
	return &servingv1.Revision{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{servingv1.ServiceLabel: of, servingv1.RoutingStateLabel: state},
		},
		Spec: s.Spec.Template.Spec,
	}
}

func binding(name string, spec autoscalingv1alpha1.ScalerBindingSpec) *autoscalingv1alpha1.ScalerBinding {
	if spec.External == nil {
		spec.External = &autoscalingv1alpha1.ExternalScaler{Address: "scaler:9090"}
	}
	return &autoscalingv1alpha1.ScalerBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func TestRevisionsThatARouteNamesFollow(t *testing.T) {
	b := newBench(t)
	b.create(service("a", nil), service("b", map[string]string{"team": "x"}), service("c", map[string]string{"team": "y"}),
		revision("a-00001", "a", servingv1.RoutingStateReserve), revision("a-00002", "a", servingv1.RoutingStateActive),
		revision("b-00001", "b", servingv1.RoutingStateActive), revision("c-00001", "c", servingv1.RoutingStateActive),
		binding("both", autoscalingv1alpha1.ScalerBindingSpec{
			Services: []string{"a"}, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "x"}},
		}),
		binding("all", autoscalingv1alpha1.ScalerBindingSpec{Selector: &metav1.LabelSelector{}}),
		binding("early", autoscalingv1alpha1.ScalerBindingSpec{Services: []string{"a", "later"}}),
	)
	s := b.follow("both", "a-00002", "b-00001")
	if s.Type != model.AverageValue || s.Every != 30*time.Second || s.Hold != 5*time.Minute || s.Most != 100 || s.Fallback.Failures != 0 ||
		s.External.Address != "scaler:9090" || s.External.TLS.Plaintext || s.Revisions[0].UID == "" {
		t.Errorf("a binding with defaults makes %+v", s)
	}
	b.follow("all", "a-00002", "b-00001", "c-00001")
	b.says("early", ReasonNoService, `There is no Service later in the namespace`)
	b.create(service("later", nil), revision("later-00001", "later", servingv1.RoutingStateActive))
	b.follow("early", "a-00002", "later-00001")

	r := revision("a-00002", "a", servingv1.RoutingStateActive)
	r.Namespace = b.namespace
	if err := b.Patch(t.Context(), r, client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"labels":{"serving.knative.dev/routingState":"reserve"}}}`))); err != nil {
		t.Fatal(err)
	}
	b.follow("both", "b-00001")
	both := binding("both", autoscalingv1alpha1.ScalerBindingSpec{})
	both.Namespace = b.namespace
	if err := b.Delete(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	b.eventually("a deleted binding is not asked any more", func() (bool, string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		_, there := b.scalers[model.Key{Namespace: b.namespace, Name: "both"}]
		return !there, "a Scaler"
	})
}

func TestTheStatusSaysWhatTheFiguresAre(t *testing.T) {
	b := newBench(t)
	b.create(service("a", nil), revision("a-00001", "a", servingv1.RoutingStateActive),
		binding("queue", autoscalingv1alpha1.ScalerBindingSpec{Services: []string{"a"}}))
	key := model.Key{Namespace: b.namespace, Name: "queue"}
	b.says("queue", ReasonNotAskedYet, "")
	b.controller.Status(key, model.ScalerStatus{
		Known: true, Active: true, Since: time.Now(), Replicas: 3, Metrics: []model.ScalerMetric{{Name: "depth", Value: 12.5, Target: 5}},
	})
	o := b.says("queue", ReasonFollowed, "follow")
	if s := o.Status; s.Active == nil || !*s.Active || s.Replicas == nil || *s.Replicas != 3 || len(s.Metrics) != 1 ||
		s.Metrics[0] != (autoscalingv1alpha1.MetricStatus{Name: "depth", Value: "12.5", Target: "5"}) ||
		!slices.Equal(s.Revisions, []string{"a-00001"}) {
		t.Errorf("the status is %+v", s)
	}
	// A change of figures alone waits; that it fails does not, and writes the figures too.
	version := o.ResourceVersion
	b.controller.Status(key, model.ScalerStatus{Known: true, Active: true, Replicas: 4})
	if o := b.says("queue", ReasonFollowed, ""); o.ResourceVersion != version {
		t.Errorf("a change of figures was written at once")
	}
	b.controller.Status(key,
		model.ScalerStatus{Known: true, Active: true, Replicas: model.UnknownReplicas, Failures: 1, Problem: "it is gone"})
	if o := b.says("queue", ReasonScalerFailed, "There are no figures: it is gone."); o.Status.Replicas != nil {
		t.Errorf("without figures the status has %d replicas", *o.Status.Replicas)
	}
	b.eventually("Events", func() (bool, string) {
		var events corev1.EventList
		if err := b.List(t.Context(), &events, client.InNamespace(b.namespace)); err != nil {
			return false, err.Error()
		}
		seen := map[string]string{}
		for _, e := range events.Items {
			if e.InvolvedObject.Kind == "ScalerBinding" {
				seen[e.Reason] = e.Type
			}
		}
		return seen[ReasonFollowed] == "Normal" && seen[ReasonScalerFailed] == "Warning", fmt.Sprint(seen)
	})
}

func TestSecretsAreReadByNameAndNotShown(t *testing.T) {
	b := newBench(t)
	with := func(name, secret string) *autoscalingv1alpha1.ScalerBinding {
		return binding(name, autoscalingv1alpha1.ScalerBindingSpec{
			Services: []string{"a"},
			External: &autoscalingv1alpha1.ExternalScaler{Address: "scaler:9090", TLS: &autoscalingv1alpha1.ScalerTLS{SecretName: secret}},
		})
	}
	chain, key := authority.New(t).Sign("client")
	secret := func(name string, kind corev1.SecretType, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: data}
	}
	b.create(service("a", nil), revision("a-00001", "a", servingv1.RoutingStateActive),
		secret("right", corev1.SecretTypeTLS, map[string][]byte{"tls.crt": chain, "tls.key": key, "ca.crt": chain}),
		secret("broken", corev1.SecretTypeTLS, map[string][]byte{"tls.crt": []byte("broken"), "tls.key": []byte("s3cr3t")}),
		secret("opaque", corev1.SecretTypeOpaque, map[string][]byte{"password": []byte("s3cr3t")}),
		with("right", "right"), with("broken", "broken"), with("opaque", "opaque"), with("none", "none"))
	s := b.follow("right", "a-00001")
	if s.External.TLS.Key != string(key) || s.External.TLS.CA != string(chain) || s.Problem != "" {
		t.Error("the Secret is not used")
	}
	for name, want := range map[string]struct{ reason, part string }{
		"broken": {ReasonInvalidTLS, "the client's certificate cannot be used"},
		"opaque": {ReasonNoSecret, `Secret "opaque" is of the type "Opaque", want kubernetes.io/tls`},
		"none":   {ReasonNoSecret, `There is no Secret "none"`},
	} {
		o := b.says(name, want.reason, want.part)
		if strings.Contains(fmt.Sprint(o.Status), "s3cr3t") {
			t.Errorf("the status tells what is in the Secret: %+v", o.Status)
		}
		// It has no figures, and so what its revisions run stays.
		if s := b.follow(name, "a-00001"); s.Problem == "" {
			t.Errorf("%s can be asked", name)
		}
	}
}
