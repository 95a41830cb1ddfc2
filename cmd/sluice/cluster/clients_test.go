package cluster

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/test/kubeapi"
)

// asking is an API server with a leader that fills the Secrets of clients.
type asking struct {
	*testing.T
	api       kubernetes.Interface
	mu        sync.Mutex
	authority pair
}

func newAsking(t *testing.T) *asking {
	t.Helper()
	config := kubeapi.Start(t)
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	a := &asking{T: t, api: api}
	a.renew()
	c, err := newClients(config, "sluice-own", func(context.Context) (pair, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.authority, nil
	}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := c.run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); ended.Wait() })
	return a
}

// renew replaces the authority.
func (a *asking) renew() {
	a.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	made, err := newAuthority(time.Now(), a.authority.chain)
	if err != nil {
		a.Fatal(err)
	}
	a.authority = made
}

func (a *asking) namespace(name string, labels ...string) {
	a.Helper()
	o := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, l := range labels {
		o.Labels[l] = "true"
	}
	if _, err := a.api.CoreV1().Namespaces().Create(a.Context(), o, metav1.CreateOptions{}); err != nil {
		a.Fatal(err)
	}
}

func (a *asking) secret(namespace, name string, data map[string][]byte) {
	a.Helper()
	o := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	if _, err := a.api.CoreV1().Secrets(namespace).Create(a.Context(), o, metav1.CreateOptions{}); err != nil {
		a.Fatal(err)
	}
}

func (a *asking) get(namespace, name string) *corev1.Secret {
	a.Helper()
	o, err := a.api.CoreV1().Secrets(namespace).Get(a.Context(), name, metav1.GetOptions{})
	if err != nil {
		a.Fatal(err)
	}
	return o
}

// awaitCertificate waits until a Secret has a certificate of the authority for a role.
func (a *asking) awaitCertificate(namespace, name, role string) *corev1.Secret {
	a.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		o := a.get(namespace, name)
		own := pairOf(o.Data)
		a.mu.Lock()
		good := isFresh(own, time.Now()) && isOf(own, a.authority) && isFor(own, role) &&
			string(o.Data[authorityKey]) == string(a.authority.chain)
		a.mu.Unlock()
		if good {
			return o
		}
	}
	a.Fatalf("the Secret %s/%s has no certificate for %s", namespace, name, role)
	return nil
}

func TestNamespacesGetTheCertificatesThatTheyAskForAndMayHave(t *testing.T) {
	a := newAsking(t)
	a.namespace("sluice-own", install.ClientsLabel)
	a.secret("sluice-own", "sluice-xds-mesh", map[string][]byte{"tls.crt": []byte("its own")})
	a.namespace("shop", install.ClientsLabel)
	a.secret("shop", "sluice-xds-mesh", map[string][]byte{"note": []byte("of a user")})
	a.secret("shop", "sluice-xds-gateway", nil)
	a.secret("shop", "sluice-xds-activator", nil)
	a.secret("shop", "another", nil)
	first := a.awaitCertificate("shop", "sluice-xds-mesh", "mesh/shop")
	if string(first.Data["note"]) != "of a user" {
		t.Error("a key of a user is gone")
	}

	// An Event says why the other one is empty, and the label fills it.
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		list, err := a.api.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == "sluice-xds-gateway" && e.Reason == reasonNotAllowed &&
				strings.Contains(e.Message, install.GatewaysLabel+"=true")
		}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no Event says that the namespace may have no gateway: %v", list.Items)
		}
	}
	if n := len(a.get("shop", "sluice-xds-gateway").Data); n > 0 {
		t.Errorf("a Secret for gateways has %d keys in a namespace that may have none", n)
	}
	shop, err := a.api.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shop.Labels[install.GatewaysLabel] = "true"
	if _, err := a.api.CoreV1().Namespaces().Update(t.Context(), shop, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	a.awaitCertificate("shop", "sluice-xds-gateway", "gateway/shop")

	// Each namespace has a key of its own, and what nobody may ask for stays as it is.
	a.namespace("garage", install.ClientsLabel)
	a.secret("garage", "sluice-xds-mesh", map[string][]byte{"tls.crt": first.Data["tls.crt"], "tls.key": first.Data["tls.key"]})
	second := a.awaitCertificate("garage", "sluice-xds-mesh", "mesh/garage")
	if string(second.Data["tls.key"]) == string(first.Data["tls.key"]) {
		t.Error("two namespaces have the same key")
	}
	for _, name := range []string{"sluice-xds-activator", "another"} {
		if n := len(a.get("shop", name).Data); n > 0 {
			t.Errorf("the Secret %s got %d keys", name, n)
		}
	}
	if got := string(a.get("sluice-own", "sluice-xds-mesh").Data["tls.crt"]); got != "its own" {
		t.Errorf("the Secret of the installation itself got %q", got)
	}

	// A new authority reaches all of them: any change makes the leader look.
	a.renew()
	a.secret("garage", "sluice-xds-gateway", nil)
	a.awaitCertificate("shop", "sluice-xds-mesh", "mesh/shop")
	a.awaitCertificate("garage", "sluice-xds-mesh", "mesh/garage")
}
