package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// witness makes a Service under load: what goes wrong elsewhere must not reach it, nor keep it from changing. The caller calls what it returns
// at the end.
func (s *space) witness() (judge func()) {
	s.Helper()
	running := map[string]string{"autoscaling.knative.dev/min-scale": "1"}
	s.deploy(service{name: "witness", annotations: running})
	s.awaitReady("witness")
	s.awaitAnswer(s.host("witness"), "World")
	l := startLoad(s.TB, 2, s.host("witness"))
	return func() {
		s.deploy(service{name: "witness", target: "change", annotations: running})
		s.awaitAnswer(s.host("witness"), "change")
		l.end(s.TB)
	}
}

func TestMissingSecretIsSaidInWords(t *testing.T) {
	s := newSpace(t)
	defer s.witness()()
	o := service{name: "hello"}.object(s.name)
	o.Spec.Template.Spec.Containers[0].EnvFrom = []servingv1.EnvFromSource{{
		SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "password"}},
	}}
	s.put(o)
	s.awaitFailure("hello", "password")
	if err := kubectl(nil, "-n", s.name, "create", "secret", "generic", "password", "--from-literal=A=b"); err != nil {
		t.Fatal(err)
	}
	s.awaitReady("hello")
}

func TestPodsAboveALimitAreSaidInWords(t *testing.T) {
	s := newSpace(t)
	defer s.witness()()
	limit := &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "small"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
			Default: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		}}},
	}
	if err := cluster.Create(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	large := func(name, memory string) *servingv1.Service {
		o := service{name: name}.object(s.name)
		asked := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
		o.Spec.Template.Spec.Containers[0].Resources = servingv1.ResourceRequirements{Requests: asked, Limits: asked}
		return o
	}
	s.put(large("hello", "2Gi"))
	s.awaitFailure("hello", "maximum memory usage per Container is 1Gi")
	s.put(large("hello", "64Mi"))
	s.awaitReady("hello")
	if err := cluster.Delete(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	s.put(large("huge", "900Gi"))
	s.awaitFailure("huge", "No node takes a pod", "Insufficient memory")
}

func TestNamespaceThatIsDeletedMidWayGoesAndOthersStay(t *testing.T) {
	s := newSpace(t)
	defer s.witness()()
	short := s.name + "-short"
	if err := kubectl(nil, "create", "namespace", short); err != nil {
		t.Fatal(err)
	}
	deleteAfter(t, short)
	for i := range 5 {
		if err := cluster.Create(t.Context(), service{name: fmt.Sprint("hello-", i), timeout: 5}.object(short)); err != nil {
			t.Fatal(err)
		}
	}
	s.await("the first revision", func() (any, bool) {
		var list servingv1.RevisionList
		if err := cluster.List(t.Context(), &list, client.InNamespace(short)); err != nil {
			t.Fatal(err)
		}
		return len(list.Items), len(list.Items) > 0
	})
	if err := kubectl(nil, "delete", "namespace", short, "--timeout", patience.String()); err != nil {
		t.Fatal(err)
	}
	if a := s.ask("hello-0."+short+"."+domain, "/"); a.status != http.StatusNotFound {
		t.Errorf("a host of the namespace answers %v, want 404", a)
	}
	// The same names again, in a namespace of the same name.
	if err := kubectl(nil, "create", "namespace", short); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Create(t.Context(), service{name: "hello-0", target: "again"}.object(short)); err != nil {
		t.Fatal(err)
	}
	s.awaitAnswer("hello-0."+short+"."+domain, "again")
}

func TestRevisionThatIsDeletedByHandIsMissed(t *testing.T) {
	s := newSpace(t)
	defer s.witness()()
	s.deploy(service{name: "hello", target: "first"})
	first := s.awaitReady("hello").Status.LatestReadyRevisionName
	o := service{name: "hello", target: "second"}.object(s.name)
	o.Spec.Traffic = []servingv1.TrafficTarget{
		{RevisionName: first, Percent: new(int64(50))}, {LatestRevision: new(true), Percent: new(int64(50))},
	}
	s.put(o)
	s.awaitReady("hello")
	if err := kubectl(nil, "-n", s.name, "delete", "revision", first); err != nil {
		t.Fatal(err)
	}
	s.awaitFailure("hello", first)
	o.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: new(true), Percent: new(int64(100))}}
	s.put(o)
	s.awaitReady("hello")
	s.awaitAnswer(s.host("hello"), "second")
}

func TestTwoRoutesOfOneHostAreToldApart(t *testing.T) {
	s := newSpace(t)
	defer s.witness()()
	o := service{name: "hello", target: "tagged"}.object(s.name)
	o.Spec.Traffic = []servingv1.TrafficTarget{{Tag: "blue", LatestRevision: new(true), Percent: new(int64(100))}}
	s.put(o)
	s.awaitReady("hello")
	s.awaitAnswer(s.host("blue-hello"), "tagged")
	s.deploy(service{name: "blue-hello", target: "service"}) // the same host
	s.awaitFailure("blue-hello", "blue-hello")
	if a := s.ask(s.host("blue-hello"), "/"); !strings.Contains(a.body, "tagged") {
		t.Errorf("the host answers %v, want what had it first", a)
	}
	s.awaitAnswer(s.host("hello"), "tagged")
	o = service{name: "hello", target: "tagged"}.object(s.name) // without the tag
	o.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: new(true), Percent: new(int64(100))}}
	s.put(o)
	s.awaitReady("blue-hello")
	s.awaitAnswer(s.host("blue-hello"), "service")
}

func TestConflictingWritesEndWithTheSpec(t *testing.T) {
	s := newSpace(t)
	defer s.witness()()
	s.deploy(service{name: "hello", target: "0", annotations: map[string]string{"autoscaling.knative.dev/min-scale": "1"}})
	name := s.awaitReady("hello").Status.LatestReadyRevisionName
	// Somebody changes what controllers own, and the Service at the same time.
	for i := range 20 {
		for _, args := range [][]string{
			{"patch", "route", "hello", "--type", "merge", "-p",
				`{"spec":{"traffic":[{"configurationName":"hello","tag":"mine","latestRevision":true,"percent":100}]}}`},
			{"patch", "deployment", name + "-deployment", "--type", "merge", "-p",
				`{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"user-container","image":"dev.local/absent:v1"}]}}}}`},
			{"patch", "service", "hello", "--type", "merge", "-p", fmt.Sprintf(`{"spec":{"externalName":"other-%d.example.com"}}`, i)},
		} {
			if err := kubectl(nil, append([]string{"-n", s.name}, args...)...); err != nil {
				t.Fatal(err)
			}
		}
		if i%5 == 0 {
			s.deploy(service{name: "hello", target: fmt.Sprint(i + 1),
				annotations: map[string]string{"autoscaling.knative.dev/min-scale": "1"}})
		}
	}
	s.awaitReady("hello")
	s.awaitAnswer(s.host("hello"), "Hello 16 ")
	s.await("the owner's spec", func() (any, bool) {
		var route servingv1.Route
		var deployment appsv1.Deployment
		var placeholder corev1.Service
		for key, o := range map[string]client.Object{"hello": &route,
			s.get("hello").Status.LatestReadyRevisionName + "-deployment": &deployment} {
			if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: s.name, Name: key}, o); err != nil {
				return err, false
			}
		}
		if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: s.name, Name: "hello"}, &placeholder); err != nil {
			return err, false
		}
		found := fmt.Sprint(route.Spec.Traffic, deployment.Spec.Template.Spec.Containers[0].Image, placeholder.Spec.ExternalName)
		return found, len(route.Spec.Traffic) == 1 && route.Spec.Traffic[0].Tag == "" &&
			strings.HasPrefix(deployment.Spec.Template.Spec.Containers[0].Image, "dev.local/sample") &&
			placeholder.Spec.ExternalName == "gateway-local."+system+".svc.cluster.local"
	})
}

func TestWebhookThatRefusesPodsIsSaidInWords(t *testing.T) {
	if os.Getenv("SLUICE_APISERVER_PID") == "" {
		t.Skip("SLUICE_APISERVER_PID is not set: the API server of this test must reach a webhook on this machine")
	}
	s := newSpace(t)
	defer s.witness()()
	address, authority := refusePods(t)
	path := "https://" + address + "/"
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	hook := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: s.name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "refuses.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none, FailurePolicy: &fail,
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &path, CABundle: authority},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.name}},
			ObjectSelector:    &metav1.LabelSelector{MatchLabels: map[string]string{servingv1.ServiceLabel: "hello"}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	if err := cluster.Create(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	remove := func() {
		if err := cluster.Delete(t.Context(), hook); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
	defer remove()
	time.Sleep(time.Second) // the API server learns of a webhook by a watch; too early, the pod is let in and the next lines say so
	s.deploy(service{name: "hello"})
	s.awaitFailure("hello", "refuses.example.com", "no pods on Mondays")
	remove()
	s.awaitReady("hello")
}

// refusePods serves a webhook that refuses everything, until the test ends.
func refusePods(t *testing.T) (address string, authority []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webhook"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		text, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(text, &review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: "no pods on Mondays"}}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return l.Addr().String(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestCustomResourceDefinitionThatIsEditedByHand takes all rules out of the schema of Services. What then comes in is told in words, and stops
// no other Service. It does not run beside other tests, which share the definition.
func TestCustomResourceDefinitionThatIsEditedByHand(t *testing.T) {
	s := makeSpace(t)
	defer s.witness()()
	const name = "services.serving.knative.dev"
	restore := func() { // the edit has made somebody else the owner of the schema
		manifest, err := exec.Command(cluster.sluice, installation...).Output()
		if err == nil {
			err = kubectl(manifest, "apply", "--server-side", "--force-conflicts", "-f", "-")
		}
		if err != nil {
			t.Error(err)
		}
	}
	defer restore()
	edit := `[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema","value":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}]`
	if err := kubectl(nil, "patch", "crd", name, "--type", "json", "-p", edit); err != nil {
		t.Fatal(err)
	}
	o := service{name: "hello"}.object(s.name)
	o.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: new(true), Percent: new(int64(70))}}
	s.await("the API server to take what the schema refused", func() (any, bool) {
		err := cluster.Create(t.Context(), o.DeepCopy())
		return err, err == nil || apierrors.IsAlreadyExists(err)
	})
	s.await("words about the sum", func() (any, bool) {
		c := conditionOf(s.get("hello"), "Ready")
		return c, c.Status != "True" && strings.Contains(c.Message, "70")
	})
	s.deploy(service{name: "later"})
	s.awaitReady("later")
	s.awaitAnswer(s.host("later"), "World")
	restore()
	o = service{name: "hello", target: "restored"}.object(s.name)
	o.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: new(true), Percent: new(int64(100))}}
	s.await("the rules to be back, and a Service that keeps them", func() (any, bool) {
		err := cluster.Patch(t.Context(), o.DeepCopy(), client.Apply, client.FieldOwner("e2e"), //nolint:staticcheck // typed
			client.ForceOwnership)
		return err, err == nil
	})
	s.awaitAnswer(s.host("hello"), "restored")
}
