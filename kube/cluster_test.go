package kube_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/crds"
	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	networkingv1alpha1 "sluice.dev/sluice/crds/networking/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

const localGateway = "gateway-local.sluice-system.svc.cluster.local"

// newClusterBench is a bench on a real API server of Kubernetes, with all that a cluster has. It creates some objects first.
func newClusterBench(t *testing.T, adjust func(*kube.Options), before ...client.Object) *bench {
	t.Helper()
	kinds, err := crds.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOn(t, kubeapi.Start(t, kinds...))
	b.adjust = func(o *kube.Options) {
		o.LocalGateway, o.Secrets, o.Events, o.CollectGarbage = localGateway, true, true, false
		o.Gateway.HTTPS = "127.0.0.1:8443"
		o.Rollout.Claims = true
		if adjust != nil {
			adjust(o)
		}
	}
	t.Cleanup(func() { // no garbage collector runs
		ctx := context.Background()
		for _, o := range before {
			if err := b.Delete(ctx, o); err != nil {
				t.Errorf("cleaning up: %v", err)
			}
		}
		for _, kind := range []client.Object{
			&servingv1.Service{}, &servingv1.Route{}, &servingv1.Configuration{}, &servingv1.Revision{}, &servingv1beta1.DomainMapping{},
			&autoscalingv1alpha1.ScalingSchedule{},
			&corev1.Service{}, &corev1.Secret{}, &corev1.Event{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
		} {
			if err := b.DeleteAllOf(ctx, kind, client.InNamespace("default")); err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("cleaning up: %v", err)
			}
		}
	})
	b.create(before...)
	t.Cleanup(b.startAdapter())
	return b
}

func (b *bench) placeholder(name string) *corev1.Service {
	s := &corev1.Service{}
	if err := b.Get(b.t.Context(), types.NamespacedName{Namespace: "default", Name: name}, s); err != nil {
		return nil
	}
	return s
}

func TestPlaceholdersLeadToTheGateway(t *testing.T) {
	b := newClusterBench(t, nil)
	s := newService("hello", "one")
	s.Labels = map[string]string{"team": "a"}
	b.create(s)
	b.eventuallyReady("hello")
	b.change("hello", traffic(to("hello-00001", "old", 100)))
	b.eventually("a placeholder of the tag", func() (bool, string) { return b.placeholder("old-hello") != nil, "none" })
	for _, name := range []string{"hello", "old-hello"} {
		p := b.placeholder(name)
		if p.Spec.Type != corev1.ServiceTypeExternalName || p.Spec.ExternalName != localGateway {
			t.Errorf("%s is a %s to %q, want an ExternalName to %s", name, p.Spec.Type, p.Spec.ExternalName, localGateway)
		}
		if p.Labels[servingv1.RouteLabel] != "hello" || p.Labels["team"] != "a" || p.Labels[servingv1.ServiceLabel] != "hello" {
			t.Errorf("%s has the labels %v", name, p.Labels)
		}
		if owner := metav1.GetControllerOf(p); owner == nil || owner.Kind != "Route" || owner.Name != "hello" {
			t.Errorf("%s belongs to %v, want the Route", name, owner)
		}
		if len(p.Spec.Ports) != 1 || p.Spec.Ports[0].Port != 80 || p.Spec.Ports[0].Name != "http2" {
			t.Errorf("%s has the ports %+v, want 80", name, p.Spec.Ports)
		}
	}
	// One that is deleted or changed by hand is made again, and one of a tag that is gone is deleted.
	b.remove(b.placeholder("hello"))
	b.eventually("the placeholder again", func() (bool, string) { return b.placeholder("hello") != nil, "none" })
	changed := b.placeholder("old-hello")
	changed.Spec.ExternalName = "evil.example.com"
	if err := b.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	b.eventually("the placeholder leads to the gateway", func() (bool, string) {
		p := b.placeholder("old-hello")
		return p.Spec.ExternalName == localGateway, p.Spec.ExternalName
	})
	b.change("hello", traffic(to("hello-00001", "", 100)))
	b.eventually("the placeholder of the tag is gone", func() (bool, string) { return b.placeholder("old-hello") == nil, "it is there" })
	b.eventuallyReady("hello")
}

func TestForeignServiceIsNotOverwritten(t *testing.T) {
	b := newClusterBench(t, nil)
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "taken"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 5432}}},
	}
	b.create(foreign, newService("taken", "one"), newService("free", "one"))
	b.eventually("the condition", func() (bool, string) {
		c := b.service("taken").Status.Condition("RoutesReady")
		return c != nil && c.Status == "False" && c.Reason == "NotOwned" &&
			c.Message == `There is an existing placeholder Service "taken" that we do not own.`, fmt.Sprintf("%+v", c)
	})
	if p := b.placeholder("taken"); p.Spec.Type != corev1.ServiceTypeClusterIP || p.Spec.Ports[0].Port != 5432 {
		t.Errorf("the Service of somebody else became %+v", p.Spec)
	}
	b.eventuallyReady("free")
	b.eventuallySplit("taken", map[string]int{"taken-00001": 100}) // its other hosts are served
}

func TestPlaceholderKeepsOneTagLocal(t *testing.T) {
	b := newClusterBench(t, nil)
	b.create(newService("hello", "one"))
	b.eventuallyReady("hello")
	b.change("hello", traffic(to("hello-00001", "old", 100)))
	b.eventually("a placeholder of the tag", func() (bool, string) { return b.placeholder("old-hello") != nil, "none" })
	p := b.placeholder("old-hello")
	p.Labels[servingv1.VisibilityLabel] = servingv1.VisibilityClusterLocal
	if err := b.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	b.eventually("the URL of the tag is local", func() (bool, string) {
		s := b.service("hello")
		if len(s.Status.Traffic) != 1 || s.Status.URL != "http://hello.default.localhost:8080" {
			return false, fmt.Sprintf("%+v", s.Status)
		}
		return s.Status.Traffic[0].URL == "http://old-hello.default.svc.cluster.local", s.Status.Traffic[0].URL
	})
	for _, r := range b.newest().Routes {
		for _, rule := range r.Rules {
			if len(rule.Hosts) > 0 != (rule.Tag == "") {
				t.Errorf("tag %q has the external hosts %v", rule.Tag, rule.Hosts)
			}
		}
	}
}

// pair is a new key and a certificate of it for a host, as PEM.
func pair(t *testing.T, host string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY",
		Bytes: secret})
}

func secretOf(t *testing.T, name, host string) *corev1.Secret {
	t.Helper()
	chain, key := pair(t, host)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key},
	}
}

// eventuallyServes waits until the gateway has these certificates, by name and chain.
func (b *bench) eventuallyServes(want map[string]string) model.Gateway {
	b.t.Helper()
	var g model.Gateway
	b.eventually("certificates", func() (bool, string) {
		g = b.newest().Gateway
		have := map[string]string{}
		for _, c := range g.Certificates {
			have[c.Name] = c.Chain
		}
		return fmt.Sprint(have) == fmt.Sprint(want), fmt.Sprintf("%d, want %d", len(have), len(want))
	})
	return g
}

func TestCertificateOfADomainMapping(t *testing.T) {
	b := newClusterBench(t, nil)
	m := mapTo("default", domain, "hello")
	m.Spec.TLS = &servingv1beta1.SecretTLS{SecretName: "cert"}
	m.Annotations = map[string]string{servingv1.HTTPProtocolAnnotation: "Redirected"}
	b.create(newService("hello", "one"), m)
	// Without its Secret the domain is served over HTTP, and says what is missing.
	got := b.mappingSays("default", domain, "CertificateProvisioned", "False", "CertificateProvisionFailed")
	if c := got.Status.Condition("Ready"); c.Message != `Secret "cert" does not exist in the namespace "default".` {
		t.Errorf("message %q", c.Message)
	}
	b.eventuallySplit(domain, map[string]int{"hello-00001": 100})
	if r := b.worldRoute(domain); r.Rules[0].HTTP != "" {
		t.Errorf("a domain without a certificate has its requests %s", r.Rules[0].HTTP)
	}

	secret := secretOf(t, "cert", domain)
	b.create(secret)
	b.mappingSays("default", domain, "Ready", "True", "")
	g := b.eventuallyServes(map[string]string{"default/cert": string(secret.Data[corev1.TLSCertKey])})
	if !slices.Equal(g.Certificates[0].Hosts, []string{domain}) || !g.NoDefault {
		t.Errorf("certificate for %v, no default %t; want for %s only", g.Certificates[0].Hosts, g.NoDefault, domain)
	}
	if r := b.worldRoute(domain); r.Rules[0].HTTP != model.HTTPRedirected || r.Rules[0].Certificate != "default/cert" {
		t.Errorf("the rule is %+v, want a redirect", r.Rules[0])
	}

	// A renewal is served.
	renewed := secretOf(t, "cert", domain)
	renewed.ResourceVersion = secret.ResourceVersion
	if err := b.Update(t.Context(), renewed); err != nil {
		t.Fatal(err)
	}
	last := map[string]string{"default/cert": string(renewed.Data[corev1.TLSCertKey])}
	b.eventuallyServes(last)

	// What is broken after that is a condition, and the last certificate stays.
	broken := renewed.DeepCopy()
	broken.Data[corev1.TLSPrivateKeyKey] = []byte("no key")
	if err := b.Update(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	got = b.mappingSays("default", domain, "CertificateProvisioned", "False", "CertificateProvisionFailed")
	if c := got.Status.Condition("CertificateProvisioned"); !strings.Contains(c.Message, "no certificate that can be served") ||
		!strings.HasSuffix(c.Message, "still served.") || strings.Contains(c.Message, "no key") {
		t.Errorf("message %q", c.Message)
	}
	b.eventuallyServes(last)
	b.remove(broken)
	b.eventuallyServes(last)

	// One for another domain is said to be.
	b.create(secretOf(t, "cert", "other.example.com"))
	b.eventually("the sentence", func() (bool, string) {
		c := b.mappingSays("default", domain, "CertificateProvisioned", "False", "CertificateProvisionFailed").
			Status.Condition("CertificateProvisioned")
		return strings.Contains(c.Message, `not for the domain "`+domain+`"`), c.Message
	})

	b.remove(got)
	b.eventuallyServes(map[string]string{})
}

func (b *bench) worldRoute(name string) *model.Route {
	for _, r := range b.newest().Routes {
		if r.Key.Name == name {
			return r
		}
	}
	b.t.Fatalf("the World has no route %s", name)
	return nil
}

func TestDefaultCertificate(t *testing.T) {
	secret := secretOf(t, "default-cert", "*.example.com")
	b := newClusterBench(t, func(o *kube.Options) { o.DefaultCertificate = model.Key{Namespace: "default", Name: "default-cert"} })
	b.create(newService("hello", "one"))
	b.eventuallyReady("hello") // without it too
	b.create(secret)
	g := b.eventuallyServes(map[string]string{"default/default-cert": string(secret.Data[corev1.TLSCertKey])})
	if g.NoDefault {
		t.Error("it is not for all names")
	}
	own := secretOf(t, "own", domain)
	m := mapTo("default", domain, "hello")
	m.Spec.TLS = &servingv1beta1.SecretTLS{SecretName: "own"}
	b.create(own, m)
	g = b.eventuallyServes(map[string]string{
		"default/default-cert": string(secret.Data[corev1.TLSCertKey]), "default/own": string(own.Data[corev1.TLSCertKey]),
	})
	if g.NoDefault || g.Certificates[0].Name != "default/default-cert" {
		t.Errorf("the first certificate is %s, want that of the installation", g.Certificates[0].Name)
	}
}

// rightsOfHosts are what the adapter needs in a cluster, besides a Role for each Secret.
var rightsOfHosts = []rbacv1.PolicyRule{
	{
		APIGroups: []string{servingv1.Group},
		Resources: []string{"services", "configurations", "revisions", "routes"},
		Verbs:     []string{"get", "list", "watch", "create", "update", "patch", "delete"},
	},
	{APIGroups: []string{servingv1.Group}, Resources: []string{"domainmappings"}, Verbs: []string{"get", "list", "watch"}},
	{
		APIGroups: []string{servingv1.Group},
		Resources: []string{"services/status", "configurations/status", "revisions/status", "routes/status", "domainmappings/status"},
		Verbs:     []string{"update"},
	},
	// Owner references of the kind that keeps the owner need the right to finalize it.
	{APIGroups: []string{servingv1.Group}, Resources: []string{"*/finalizers"}, Verbs: []string{"update"}},
	{
		APIGroups: []string{networkingv1alpha1.GroupVersion.Group}, Resources: []string{"clusterdomainclaims"},
		Verbs: []string{"get", "list", "watch", "create", "delete"},
	},
	{
		APIGroups: []string{autoscalingv1alpha1.GroupVersion.Group}, Resources: []string{"scalingschedules", "revisionscales"},
		Verbs: []string{"get", "list", "watch"},
	},
	{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}},
}

// TestAdapterWithoutRightsEnds ends an adapter whose caches are never filled.
func TestAdapterWithoutRightsEnds(t *testing.T) {
	newClusterBench(t, func(o *kube.Options) {
		o.Config = rest.CopyConfig(o.Config)
		o.Config.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	})
}

func TestSecretsNeedARoleForTheirNamesOnly(t *testing.T) {
	const user = "controller-of-one-secret"
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rightsOfHosts}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
	}
	b := newClusterBench(t, func(o *kube.Options) {
		o.Config = rest.CopyConfig(o.Config)
		o.Config.Impersonate = rest.ImpersonationConfig{UserName: user}
	}, role, binding)

	m := mapTo("default", domain, "hello")
	m.Spec.TLS = &servingv1beta1.SecretTLS{SecretName: "cert"}
	secret := secretOf(t, "cert", domain)
	b.create(secret, secretOf(t, "other", domain), newService("hello", "one"), m)
	got := b.mappingSays("default", domain, "CertificateProvisioned", "False", "CertificateProvisionFailed")
	if c := got.Status.Condition("CertificateProvisioned"); !strings.Contains(c.Message, `may not read Secret "cert"`) {
		t.Errorf("message %q, want one that says what is not allowed", c.Message)
	}
	b.create(&rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: user},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"cert"},
			Verbs: []string{"get", "list", "watch"},
		}},
	}, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: user}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
	})
	b.mappingSays("default", domain, "Ready", "True", "")
	renewed := secretOf(t, "cert", domain)
	renewed.ResourceVersion = secret.ResourceVersion
	if err := b.Update(t.Context(), renewed); err != nil {
		t.Fatal(err)
	}
	b.eventuallyServes(map[string]string{"default/cert": string(renewed.Data[corev1.TLSCertKey])})
	if b.placeholder("hello") == nil {
		t.Error("there is no placeholder")
	}
}
