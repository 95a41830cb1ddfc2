package feature

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/authority"
)

// mapped makes a DomainMapping to a Service and waits until it is ready.
func (s *instance) mapped(domain, service string, annotations map[string]string) *servingv1beta1.DomainMapping {
	s.t.Helper()
	m := &servingv1beta1.DomainMapping{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: domain, Annotations: annotations},
		Spec: servingv1beta1.DomainMappingSpec{
			Ref: servingv1beta1.Reference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: service},
		},
	}
	if err := s.Create(context.Background(), m); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, domain+" is ready", func() error {
		if err := s.Get(context.Background(), types.NamespacedName{Namespace: "default", Name: domain}, m); err != nil {
			return err
		}
		if c := m.Status.Condition("Ready"); c == nil || c.Status != "True" {
			return fmt.Errorf("status %+v", m.Status)
		}
		return nil
	})
	return m
}

// over sends one request for a host, and follows no redirect. The scheme is http or https, address where it goes.
func over(scheme, address, host, path string, headers ...string) (*http.Response, string, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test does not verify the certificate
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	_, port, _ := net.SplitHostPort(address)
	request, err := http.NewRequest(http.MethodGet, scheme+"://"+host+":"+port+path, nil)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, strings.TrimSpace(string(body)), err
}

func TestDomainMappingAndRedirect(t *testing.T) { onEachGateway(t, domainMappingAndRedirect) }

func domainMappingAndRedirect(t *testing.T, g gateway) {
	const plain, secure = "www.example.com", "shop.example.com"
	files := authority.New(t).Issue("gateway", "*.example.com", "*.default.localhost")
	https := address.Free(t)
	s := g.up(t, "-f", absolute(t, "examples/hello"), "--https", https, "--tls-cert", files.Chain, "--tls-key", files.Key)
	s.ready("hello")

	// A DomainMapping serves its domain over HTTP and HTTPS, beside the Service's own host.
	m := s.mapped(plain, "hello", nil)
	_, port, _ := net.SplitHostPort(s.gateway)
	if want := "http://" + plain + ":" + port; m.Status.URL != want {
		t.Errorf("its URL is %s, want %s", m.Status.URL, want)
	}
	for _, c := range []struct{ scheme, address, host string }{
		{"http", s.gateway, plain}, {"https", https, plain}, {"http", s.gateway, strings.ToUpper(plain)}, {"http", s.gateway, host},
	} {
		response, body, err := over(c.scheme, c.address, c.host, "/")
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(body, "Hello") {
			t.Errorf("%s to %s: %v %q, %v", c.scheme, c.host, response, body, err)
		}
	}

	s.explained(0, []string{plain + " of Route default/hello is served", "DomainMapping default/" + plain, "virtual host default/" + plain},
		plain)

	// With a redirect, requests without TLS are sent to the port of HTTPS, whatever the client says of its scheme.
	s.mapped(secure, "hello", map[string]string{servingv1.HTTPProtocolAnnotation: "Redirected"})
	_, securePort, _ := net.SplitHostPort(https)
	for _, headers := range [][]string{nil, {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Proto", "ws"}} {
		response, _, err := over("http", s.gateway, secure, "/a%2Fb?c=d", headers...)
		if err != nil {
			t.Fatal(err)
		}
		want := "https://" + secure + ":" + securePort + "/a%2Fb?c=d"
		if got := response.Header.Get("Location"); response.StatusCode != http.StatusMovedPermanently || got != want {
			t.Errorf("with the headers %v: %d to %s, want 301 to %s", headers, response.StatusCode, got, want)
		}
	}
	for _, headers := range [][]string{nil, {"X-Forwarded-Proto", "http"}} {
		if response, body, err := over("https", https, secure, "/", headers...); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("over HTTPS with the headers %v: %v %q, %v", headers, response, body, err)
		}
	}

	// The Service's own host follows its annotation; hosts within the cluster are never redirected.
	s.change("hello", func(o *servingv1.Service) {
		o.Annotations = map[string]string{servingv1.HTTPOptionAnnotation: "redirected"}
	})
	eventually(t, "the Service's host is redirected", func() error {
		response, _, err := over("http", s.gateway, host, "/")
		if err == nil && response.StatusCode != http.StatusMovedPermanently {
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		return err
	})
	if response, body, err := over("http", s.local, "hello.default.svc.cluster.local", "/"); err != nil ||
		response.StatusCode != http.StatusOK {
		t.Errorf("within the cluster: %v %q, %v", response, body, err)
	}
	if response, _, err := over("http", s.gateway, plain, "/"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("the domain without a redirect: %v, %v", response, err)
	}

	// Without its DomainMapping the domain is unknown.
	if err := s.Delete(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	s.explained(1, []string{"no: No Route and no DomainMapping has the host " + plain}, plain)
	eventually(t, "the domain is unknown", func() error {
		response, _, err := over("http", s.gateway, plain, "/")
		if err == nil && response.StatusCode != http.StatusNotFound {
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		return err
	})
}
