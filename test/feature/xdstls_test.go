package feature

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/authority"
)

// secured returns the flags of a `sluice up` whose xDS clients need certificates of an authority.
func secured(ca *authority.Authority, server authority.Files) []string {
	return []string{"--xds-tls-cert", server.Chain, "--xds-tls-key", server.Key, "--xds-client-ca", ca.File}
}

// presenting returns the flags of a client with a certificate.
func presenting(ca *authority.Authority, client authority.Files) []string {
	return []string{"--xds-ca", ca.File, "--xds-cert", client.Chain, "--xds-key", client.Key}
}

// answers waits until the gateway answers a host with a status.
func (s *instance) answers(host string, want int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s answers %d", host, want), func() error {
		status, body, err := s.get(host, "/")
		if err == nil && status != want {
			err = fmt.Errorf("status %d: %s", status, body)
		}
		return err
	})
}

func TestPartsOfTheirOwnWorkOverMutualTLS(t *testing.T) {
	onEachGateway(t, partsOfTheirOwnWorkOverMutualTLS)
}

func partsOfTheirOwnWorkOverMutualTLS(t *testing.T, g gateway) {
	ca := authority.New(t)
	server := ca.Issue("server", "127.0.0.1")
	s := g.up(t, append(secured(ca, server), "--gateway", "none", "--activator", "none", "-f", absolute(t, "examples/hello"),
		"--config", configFile(t, "stable-window: 6s\nscale-to-zero-grace-period: 1s\n"),
		"--xds-allow", "gateway=spiffe://sluice.test/gateways/*", "--xds-allow", "activator/act-1=spiffe://sluice.test/activator")...)
	gateway, activator := ca.Issue("gateway", "spiffe://sluice.test/gateways/one"), ca.Issue("activator", "spiffe://sluice.test/activator")
	activates := func(as authority.Files, node string) *part {
		return startActivator(t, s.xds, address.Free(t), append(presenting(ca, as), "--node-id", node)...)
	}
	g.beside(t, s.xds, presenting(ca, gateway)...)
	activates(activator, "act-1")
	s.ready("hello")
	s.answers(host, 200)
	s.scaledTo("hello-00001", 0)
	s.answers(host, 200) // through the activator, whose report wakes the revision

	// Neither certificate allows the other's role, and the activator's allows only its own name.
	denied, uncertified := "PermissionDenied", "certificate required"
	if g.envoy != nil { // Envoy has other texts for both
		denied, uncertified = "stream closed: 7, ", "connection termination"
	}
	for _, test := range []struct {
		*part
		want []string
	}{
		{g.beside(t, s.xds, append(presenting(ca, activator), "--node-id", "x")...),
			[]string{denied, `role "gateway" as node "x"`, "spiffe://sluice.test/activator"}},
		{activates(gateway, "act-1"), []string{"PermissionDenied", `role "activator"`, "spiffe://sluice.test/gateways/one"}},
		{activates(activator, "act-2"), []string{"PermissionDenied", `"act-2"`}},
		{g.beside(t, s.xds, "--xds-ca", ca.File), []string{uncertified}},
	} {
		for _, want := range test.want {
			test.says(want)
		}
	}
	inspect := func(files authority.Files) (string, error) {
		return combined(exec.Command(sluiceBinary, append([]string{"xds", "status", "--xds", s.xds}, presenting(ca, files)...)...))
	}
	if out := must(t)(inspect(gateway)); !strings.Contains(out, "act-1") {
		t.Errorf("the status does not name the activator:\n%s", out)
	}
	if out, err := inspect(ca.Issue("stranger", "stranger.test")); err == nil || !strings.Contains(out, `"status"`) ||
		!strings.Contains(out, "stranger.test") {
		t.Errorf("a client without a certificate gets the status: %v\n%s", err, out)
	}
	_, metrics, err := s.admined("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"gateway", "activator"} {
		if !regexp.MustCompile(`sluice_xds_denied_total\{role="` + role + `"\} [1-9]`).MatchString(metrics) {
			t.Errorf("the metrics count no client that was denied the role %s", role)
		}
	}
	if text := s.printed(); strings.Contains(text, "PRIVATE KEY") || !strings.Contains(text, "turned away") {
		t.Errorf("the log must name the clients that were refused, and have no key:\n%s", text)
	}
}

func TestBuiltInPartsNeedNoCertificate(t *testing.T) { onEachGateway(t, builtInPartsNeedNoCertificate) }

func builtInPartsNeedNoCertificate(t *testing.T, g gateway) {
	ca := authority.New(t)
	server := ca.Issue("server", "127.0.0.1")
	s := g.up(t, append(secured(ca, server), "-f", absolute(t, "examples/hello"), "--xds-allow", "gateway=spiffe://sluice.test/gateway")...)
	s.ready("hello")
	s.answers(host, 200)
}

// The files are replaced while all clients are connected: connections stay open, and new ones use the new files.
func TestCertificatesAreRenewedWhileClientsAreConnected(t *testing.T) {
	onEachGateway(t, certificatesAreRenewedWhileClientsAreConnected)
}

func certificatesAreRenewedWhileClientsAreConnected(t *testing.T, g gateway) {
	ca := authority.New(t)
	server, client := ca.Issue("server", "sluice.test"), ca.Issue("gateway", "gateway.test")
	s := g.up(t, append(secured(ca, server), "--gateway", "none", "-f", absolute(t, "examples/hello"))...)
	gateway := g.beside(t, s.xds, append(presenting(ca, client), "--xds-server-name", "sluice.test")...)
	s.ready("hello")
	served := func() string {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(client.Chain, client.Key)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", s.xds, &tls.Config{
			InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := served()
	authority.Write(t, server.Key, []byte("half"))
	s.waitFor("new certificates are rejected")
	if got := served(); got != first {
		t.Error("a broken key was taken over")
	}
	ca.Issue("server", "sluice.test")
	ca.Issue("gateway", "gateway.test")
	eventually(t, "the new certificate is served", func() error {
		if served() == first {
			return errors.New("still the first one")
		}
		return nil
	})
	o := newService("second", "sluice", "sample")
	if err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.ready("second") // so the gateway, on its old connection, has acknowledged it
	s.answers("second.default.localhost", 200)
	if text := gateway.printed(); strings.Contains(text, "stream ended") {
		t.Errorf("the gateway's stream was cut:\n%s", text)
	}
	s.kill()
	s.start()
	if err := s.Delete(t.Context(), s.service("second")); err != nil {
		t.Fatal(err)
	}
	s.answers("second.default.localhost", 404) // the gateway receives that over a new connection, with new certificates on both sides
}

func TestXDSFlagsThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	ca := authority.New(t)
	server, other := ca.Issue("server", "127.0.0.1"), ca.Issue("other", "127.0.0.1")
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"beyond loopback": {[]string{"up", "--xds", "0.0.0.0:18000"},
			[]string{"--xds-tls-cert", "--xds-tls-key", "--xds-insecure"}},
		"everywhere":                {[]string{"up", "--xds", ":18000"}, []string{"--xds-insecure"}},
		"half a pair":               {[]string{"up", "--xds-tls-cert", server.Chain}, []string{"--xds-tls-key"}},
		"an authority without TLS":  {[]string{"up", "--xds-client-ca", ca.File}, []string{"--xds-tls-cert"}},
		"a list without identities": {[]string{"up", "--xds-allow", "gateway=x"}, []string{"--xds-client-ca"}},
		"two that are no pair": {[]string{"up", "--xds", address.Free(t), "--xds-tls-cert", server.Chain, "--xds-tls-key", other.Key},
			[]string{"--xds-tls-cert", server.Chain, other.Key}},
		"an unknown role": {append([]string{"up", "--xds", address.Free(t), "--xds-allow", "proxy=x"}, secured(ca, server)...),
			[]string{"--xds-allow", "proxy", "activator"}},
		"a client's half pair":   {[]string{"gateway", "--xds-ca", ca.File, "--xds-cert", other.Chain}, []string{"--xds-key"}},
		"a client without CA":    {[]string{"activator", "--xds-cert", other.Chain, "--xds-key", other.Key}, []string{"--xds-ca"}},
		"a bootstrap without CA": {[]string{"bootstrap", "--xds-server-name", "x"}, []string{"--xds-ca"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := refused(t, t.TempDir(), test.args...)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q does not say %s", out, want)
				}
			}
		})
	}
}

// The commands of the guide work as they are printed there.
func TestCommandsOfTheSecurityGuideWork(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		absent(t, "openssl is not on PATH")
	}
	text, err := os.ReadFile(absolute(t, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, line := range regexp.MustCompile(`(?m)^ {4}openssl .*$`).FindAllString(string(text), -1) {
		c := exec.Command("sh", "-c", line)
		c.Dir = dir
		must(t)(combined(c))
	}
	flags := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^ {4}sluice (up|gateway|activator) (.*)$`).FindAllStringSubmatch(string(text), -1) {
		for _, word := range strings.Fields(m[2]) {
			if strings.HasSuffix(word, ".pem") {
				word = filepath.Join(dir, word)
			}
			flags[m[1]] = append(flags[m[1]], word)
		}
	}
	s := up(t, append(flags["up"], "-f", absolute(t, "examples/hello"))...)
	builtin.beside(t, s.xds, flags["gateway"]...)
	activator := startActivator(t, s.xds, address.Free(t), flags["activator"]...)
	s.ready("hello")
	s.answers(host, 200)
	activator.ready() // so it is connected
}

func combined(c *exec.Cmd) (string, error) {
	out, err := c.CombinedOutput()
	return string(out), err
}
