package kube_test

import (
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	networkingv1alpha1 "sluice.dev/sluice/crds/networking/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/model"
)

const domain = "www.example.com"

// mapTo is a DomainMapping to a Service.
func mapTo(namespace, domain, service string) *servingv1beta1.DomainMapping {
	return &servingv1beta1.DomainMapping{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: domain},
		Spec: servingv1beta1.DomainMappingSpec{
			Ref: servingv1beta1.Reference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: service},
		},
	}
}

func (b *bench) create(objects ...client.Object) {
	b.t.Helper()
	for _, o := range objects {
		if err := b.Create(b.t.Context(), o); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) remove(o client.Object) {
	b.t.Helper()
	if err := b.Delete(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
}

// mappingSays waits until a condition of a DomainMapping is as wanted.
func (b *bench) mappingSays(namespace, domain, condition, status, reason string) *servingv1beta1.DomainMapping {
	b.t.Helper()
	var m *servingv1beta1.DomainMapping
	b.eventually(condition+" of "+namespace+"/"+domain, func() (bool, string) {
		m = &servingv1beta1.DomainMapping{}
		if err := b.Get(b.t.Context(), types.NamespacedName{Namespace: namespace, Name: domain}, m); err != nil {
			return false, err.Error()
		}
		c := m.Status.Condition(condition)
		return c != nil && string(c.Status) == status && c.Reason == reason && m.Status.ObservedGeneration == m.Generation,
			fmt.Sprintf("generation %d, %+v", m.Generation, m.Status)
	})
	return m
}

// claims enables that DomainMappings claim their domains.
func claims(o *kube.Options) { o.Rollout.Claims = true }

func newMappingBench(t *testing.T) *bench {
	t.Helper()
	b := newBenchWithoutAdapter(t)
	b.adjust = claims
	t.Cleanup(b.startAdapter())
	return b
}

func TestDomainMappingServesItsDomain(t *testing.T) {
	b := newMappingBench(t)
	b.create(newService("hello", "one"), mapTo("default", domain, "hello"))
	m := b.mappingSays("default", domain, "Ready", "True", "")
	want := "http://" + domain + ":8080"
	if m.Status.URL != want || m.Status.Address == nil || m.Status.Address.URL != want {
		t.Errorf("url %q, address %v, want %s", m.Status.URL, m.Status.Address, want)
	}
	b.eventuallySplit(domain, map[string]int{"hello-00001": 100})
	claim := &networkingv1alpha1.ClusterDomainClaim{}
	if err := b.Get(t.Context(), types.NamespacedName{Name: domain}, claim); err != nil || claim.Spec.Namespace != "default" {
		t.Errorf("claim of %q, %v; want one of default", claim.Spec.Namespace, err)
	}

	// The domain follows its Route within one World.
	b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	b.eventuallySplit(domain, map[string]int{"hello-00002": 100})
	b.mu.Lock()
	worlds := slices.Clone(b.worlds)
	b.mu.Unlock()
	for _, w := range worlds {
		shares := map[string][]model.Share{}
		for _, r := range w.Routes {
			shares[r.Key.Name] = r.Rules[0].Shares
		}
		if s, ok := shares[domain]; ok && !slices.Equal(s, shares["hello"]) {
			t.Errorf("a World sends %v to the domain and %v to its Route", s, shares["hello"])
		}
	}

	b.remove(m)
	b.eventually("the domain is gone", func() (bool, string) {
		err := b.Get(t.Context(), types.NamespacedName{Name: domain}, claim)
		return b.split(domain) == nil && apierrors.IsNotFound(err), fmt.Sprint(b.split(domain), err)
	})
}

func TestOneNamespaceHasADomain(t *testing.T) {
	b := newMappingBench(t)
	b.create(newService("hello", "one"), mapTo("default", domain, "hello"))
	b.mappingSays("default", domain, "Ready", "True", "")
	theirs := newService("hello", "other")
	theirs.Namespace = "other"
	b.create(theirs, mapTo("other", domain, "hello"))
	b.mappingSays("other", domain, "DomainClaimed", "False", "DomainAlreadyClaimed")
	for _, r := range b.newest().Routes {
		if r.Key == (model.Key{Namespace: "other", Name: domain}) {
			t.Errorf("the domain is in the World for the namespace that does not have it: %+v", r)
		}
	}
	// When the first gives it up, the second has it.
	b.remove(mapTo("default", domain, "hello"))
	b.mappingSays("other", domain, "Ready", "True", "")
}

func TestDomainMustBeClaimed(t *testing.T) {
	b := newBench(t) // without claims of its own
	b.create(newService("hello", "one"), mapTo("default", domain, "hello"))
	b.mappingSays("default", domain, "DomainClaimed", "False", "DomainClaimFailed")
	claim := &networkingv1alpha1.ClusterDomainClaim{
		ObjectMeta: metav1.ObjectMeta{Name: domain}, Spec: networkingv1alpha1.ClusterDomainClaimSpec{Namespace: "default"},
	}
	b.create(claim)
	m := b.mappingSays("default", domain, "Ready", "True", "")
	// A claim that an administrator made stays; without it nothing is served.
	b.remove(claim)
	b.mappingSays("default", domain, "DomainClaimed", "False", "DomainClaimFailed")
	b.eventually("the domain is not served", func() (bool, string) { return b.split(domain) == nil, fmt.Sprint(b.split(domain)) })
	claim.ResourceVersion = ""
	b.create(claim)
	b.mappingSays("default", domain, "Ready", "True", "")
	b.remove(m)
	b.eventually("the domain is not served", func() (bool, string) { return b.split(domain) == nil, fmt.Sprint(b.split(domain)) })
	if err := b.Get(t.Context(), types.NamespacedName{Name: domain}, claim); err != nil {
		t.Errorf("an administrator's claim: %v, want it kept", err)
	}
}

func TestDomainMappingWaitsForItsTarget(t *testing.T) {
	b := newMappingBench(t)
	b.create(mapTo("default", domain, "hello"))
	m := b.mappingSays("default", domain, "ReferenceResolved", "False", "ResolveFailed")
	if c := m.Status.Condition("ReferenceResolved"); c.Message != `Service "hello" referenced in spec.ref not found.` {
		t.Errorf("message %q", c.Message)
	}
	b.create(newService("hello", "one"))
	b.mappingSays("default", domain, "Ready", "True", "")
	b.remove(b.service("hello"))
	b.mappingSays("default", domain, "ReferenceResolved", "False", "ResolveFailed")
	b.eventually("the domain is not served", func() (bool, string) { return b.split(domain) == nil, fmt.Sprint(b.split(domain)) })
}

func TestSecretsOnOneMachine(t *testing.T) {
	b := newMappingBench(t)
	m := mapTo("default", domain, "hello")
	m.Spec.TLS = &servingv1beta1.SecretTLS{SecretName: "cert"}
	b.create(newService("hello", "one"), m)
	m = b.mappingSays("default", domain, "CertificateProvisioned", "False", "CertificateProvisionFailed")
	if want := "https://" + domain; m.Status.URL != want {
		t.Errorf("url %s, want %s", m.Status.URL, want)
	}
	b.eventuallySplit(domain, map[string]int{"hello-00001": 100}) // over HTTP
}

func TestDomainMappingOutlivesARestart(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	b.adjust = claims
	stop := b.startAdapter()
	b.create(newService("hello", "one"), mapTo("default", domain, "hello"))
	b.mappingSays("default", domain, "Ready", "True", "")
	stop()
	b.mu.Lock()
	b.worlds = nil
	b.mu.Unlock()
	t.Cleanup(b.startAdapter())
	b.eventually("a World", func() (bool, string) { return len(b.newest().Routes) > 0, "none" })
	b.mu.Lock()
	first := b.worlds[0]
	b.mu.Unlock()
	for _, r := range first.Routes {
		if len(r.Rules) != 1 || len(r.Rules[0].Shares) != 1 {
			t.Errorf("the first World after a restart has the route %+v, want all of its requests at hello-00001", *r)
		}
	}
	if len(first.Routes) != 2 {
		t.Errorf("the first World after a restart has %d routes, want that of the domain too", len(first.Routes))
	}
	b.mappingSays("default", domain, "Ready", "True", "")
}

func TestBadDomainMappingsAreRefused(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	for what, change := range map[string]func(*servingv1beta1.DomainMapping){
		"one label":                func(m *servingv1beta1.DomainMapping) { m.Name = "example" },
		"a name of the cluster":    func(m *servingv1beta1.DomainMapping) { m.Name = "hello.default.svc.cluster.local" },
		"no kind":                  func(m *servingv1beta1.DomainMapping) { m.Spec.Ref.Kind = "" },
		"no name":                  func(m *servingv1beta1.DomainMapping) { m.Spec.Ref.Name = "" },
		"no apiVersion":            func(m *servingv1beta1.DomainMapping) { m.Spec.Ref.APIVersion = "" },
		"no name of the Secret":    func(m *servingv1beta1.DomainMapping) { m.Spec.TLS = &servingv1beta1.SecretTLS{} },
		"a label of 64 characters": func(m *servingv1beta1.DomainMapping) { m.Name = fmt.Sprintf("%064d.example.com", 0) },
	} {
		m := mapTo("default", domain, "hello")
		change(m)
		if err := b.Create(t.Context(), m); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v, want it refused as invalid", what, err)
		}
	}
	b.create(mapTo("default", domain, "hello"))
}
