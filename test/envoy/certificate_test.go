package envoy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/authority"
)

// The certificates of DomainMappings come and go while the gateway runs. Each is for its own domain alone, connections with another one stay,
// and a redirect begins with the certificate.
func TestCertificatesOfDomainsComeAndGo(t *testing.T) {
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	defer application.Close()
	at := netip.MustParseAddrPort(application.Listener.Addr().String())
	const one, two = "one.example.com", "two.example.com"
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		c, https, a := newControl(t), address.Free(t), authority.New(t)
		serve := func(domains ...string) {
			w := worldOf(model.Backend{Endpoints: []model.Endpoint{{Host: at.Addr().String(), Port: int(at.Port())}}})
			w.Gateway.Routes, w.Gateway.HTTPS, w.Gateway.NoDefault = model.Scoped, https, true
			for _, domain := range domains {
				chain, key := a.Sign(domain)
				w.Gateway.Certificates = append(w.Gateway.Certificates, model.Certificate{
					Name: "default/" + domain, Hosts: []string{domain}, Chain: string(chain), Key: string(key),
				})
				w.Routes = append(w.Routes,
					&model.Route{Key: model.Key{Namespace: "default", Name: domain}, Yields: true, Rules: []model.Rule{{
						Hosts: []string{domain}, Shares: []model.Share{{Revision: hello, Percent: 100}},
						HTTP: model.HTTPRedirected, Certificate: "default/" + domain,
					}}})
			}
			c.serve(w)
		}
		dial := func(name string) (*tls.Conn, error) {
			config := &tls.Config{ServerName: name, InsecureSkipVerify: true} //nolint:gosec // the test looks at the certificate
			return tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", https, config)
		}
		shows := func(name string) bool {
			conn, err := dial(name)
			if err != nil {
				return false
			}
			defer conn.Close()
			return conn.ConnectionState().PeerCertificates[0].VerifyHostname(name) == nil
		}
		serve()
		begin(c)

		serve(one)
		eventually(t, "the first certificate is shown", func() bool { return shows(one) && c.settled() })
		if conn, err := dial(two); err == nil {
			t.Errorf("a handshake for %s gets the certificate of %v", two, conn.ConnectionState().PeerCertificates[0].DNSNames)
			conn.Close()
		}
		kept, err := dial(one)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		client := &http.Client{
			Transport:     &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return kept, nil }},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		defer client.CloseIdleConnections()
		ask := func(url string) string {
			r, err := client.Get(url)
			if err != nil {
				return err.Error()
			}
			defer r.Body.Close()
			text, _ := io.ReadAll(r.Body)
			return fmt.Sprint(r.StatusCode, " ", string(text))
		}
		if got := ask("https://" + one + "/"); got != "200 "+one {
			t.Errorf("over the first connection: %q", got)
		}
		if got := hostSeen(t, c.gateway, host); got != host {
			t.Errorf("the host without a certificate: %q, want it served over HTTP", got)
		}

		serve(one, two)
		eventually(t, "the second certificate is shown", func() bool { return shows(two) && shows(one) && c.settled() })
		if got := ask("https://" + one + "/"); got != "200 "+one {
			t.Errorf("over the connection that was there before the second certificate: %q", got)
		}
		redirected, err := http.NewRequest(http.MethodGet, "http://"+c.gateway+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		redirected.Host = two
		response, err := client.Transport.RoundTrip(redirected)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Location"); response.StatusCode != http.StatusMovedPermanently || got != "https://"+two+"/" {
			t.Errorf("without TLS: %d to %q, want 301 to https://%s/", response.StatusCode, got, two)
		}

		serve(two)
		eventually(t, "the first certificate is gone", func() bool { return !shows(one) && shows(two) })
	})
}
