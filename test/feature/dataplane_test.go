package feature

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/address"
)

// via returns a client that connects to one address for every host.
func via(address string, config *tls.Config) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
}

func TestWebSocketGoesThrough(t *testing.T) { onEachGateway(t, webSocketGoesThrough) }

func webSocketGoesThrough(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	conn, _, err := websocket.Dial(t.Context(), "ws://"+host+"/ws", &websocket.DialOptions{HTTPClient: via(s.gateway, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for i := range 50 {
		want := fmt.Sprint("message ", i)
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

// certificate writes a self-signed pair for *.default.localhost.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sluice test"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.default.localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, text := range map[string][]byte{cert: chain, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return cert, key, pool
}

func TestHTTPSIsServedWhereACertificateIsGiven(t *testing.T) {
	onEachGateway(t, hTTPSIsServedWhereACertificateIsGiven)
}

func hTTPSIsServedWhereACertificateIsGiven(t *testing.T, g gateway) {
	cert, key, pool := certificate(t)
	https := address.Free(t)
	s := g.up(t, "-f", absolute(t, "examples/hello"), "--https", https, "--tls-cert", cert, "--tls-key", key)
	s.ready("hello")
	response, err := via(https, &tls.Config{RootCAs: pool}).Get("https://" + host + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 || !strings.Contains(string(body), "Hello World") {
		t.Errorf("status %d, %v: %s", response.StatusCode, err, body)
	}
	if response.ProtoMajor != 2 {
		t.Errorf("a client that can speak HTTP/2 over TLS got %s", response.Proto)
	}
}

func TestClusterLocalServiceIsNotVisibleOutside(t *testing.T) {
	onEachGateway(t, clusterLocalServiceIsNotVisibleOutside)
}

func clusterLocalServiceIsNotVisibleOutside(t *testing.T, g gateway) {
	s := g.up(t)
	o := newService("inner", "sluice", "sample")
	o.Labels = map[string]string{"networking.knative.dev/visibility": "cluster-local"}
	if err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got := s.ready("inner").Status.URL; got != "http://inner.default.svc.cluster.local" {
		t.Errorf("URL %q", got)
	}
	for _, name := range []string{"inner.default", "inner.default.svc", "inner.default.svc.cluster.local"} {
		response, err := via(s.local, nil).Get("http://" + name + "/")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 200 {
			t.Errorf("%s answers %d on the cluster-local listener", name, response.StatusCode)
		}
		if status, _, err := s.get(name, "/"); err != nil || status != 404 {
			t.Errorf("%s answers %d, %v on the outer listener, want 404", name, status, err)
		}
	}
}

func TestTagIsChosenByHeaderToo(t *testing.T) { onEachGateway(t, tagIsChosenByHeaderToo) }

func tagIsChosenByHeaderToo(t *testing.T, g gateway) {
	s := canary(t, g)
	for range 50 {
		request, err := http.NewRequest(http.MethodGet, "http://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Knative-Serving-Tag", "green")
		response, err := via(s.gateway, nil).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(body), "green") {
			t.Fatalf("got %q, %v", body, err)
		}
	}
}

func TestShareMovesGraduallyWithARolloutDuration(t *testing.T) {
	onEachGateway(t, shareMovesGraduallyWithARolloutDuration)
}

func shareMovesGraduallyWithARolloutDuration(t *testing.T, g gateway) {
	s := g.up(t)
	o := newService("slow", "sluice", "sample")
	o.Annotations = map[string]string{"serving.knative.dev/rollout-duration": "6s"}
	if err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.ready("slow")
	before := s.service("slow").ResourceVersion
	s.change("slow", func(o *servingv1.Service) {
		o.Spec.Template.Spec.Containers[0].Env = []servingv1.EnvVar{{Name: "TARGET", Value: "two"}}
	})
	var seen []int64 // every share, since a watch leaves none out
	watch := "services?fieldSelector=metadata.name%3Dslow&resourceVersion=" + before + "&watch=true"
	if err := s.kn(t).watch(watch, func(_ string, o map[string]any) bool {
		share := int64(0)
		targets, _ := at(o, "status", "traffic").([]any)
		for _, target := range targets {
			if percent, ok := at(target, "percent").(float64); ok && at(target, "revisionName") == "slow-00002" {
				share += int64(percent)
			}
		}
		if share > 0 && (len(seen) == 0 || seen[len(seen)-1] != share) {
			seen = append(seen, share)
		}
		return share == 100
	}); err != nil {
		t.Fatalf("the new revision does not get all requests: its shares were %v: %v", seen, err)
	}
	if len(seen) < 3 || seen[0] != 1 {
		t.Errorf("the new revision's shares were %v: want 1 percent first, and steps", seen)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] < seen[i-1] {
			t.Errorf("the share went back: %v", seen)
		}
	}
	s.ready("slow")
}

// A gateway process serves with a control plane that runs no gateway, and goes on serving while the control plane is down.
func TestGatewayProcessOutlivesTheControlPlane(t *testing.T) {
	onEachGateway(t, gatewayProcessOutlivesTheControlPlane)
}

func gatewayProcessOutlivesTheControlPlane(t *testing.T, g gateway) {
	s := g.up(t, "--gateway", "none", "-f", absolute(t, "examples/hello"))
	g.beside(t, s.socket())
	s.ready("hello") // which needs a gateway that has acknowledged the route
	if status, body, err := s.get(host, "/"); err != nil || status != 200 {
		t.Errorf("status %d, %v: %s", status, err, body)
	}
	s.kill()
	if status, _, err := s.get("nobody.default.localhost", "/"); err != nil || status != 404 {
		t.Errorf("without the control plane the gateway answers %d, %v to an unknown host", status, err)
	}
	s.start()
	eventually(t, "the gateway has found the new process's replica", func() error {
		status, body, err := s.get(host, "/")
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d: %s", status, body)
		}
		return err
	})
}
