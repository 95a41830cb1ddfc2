package feature

import (
	"crypto/tls"
	"math"
	"net/http"
	"testing"

	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/test/realenvoy"
)

// Each Envoy that `make envoy` has installed serves, splits, wakes a revision at zero and takes over a new certificate. The other tests
// use the newest Envoy.
func TestEachEnvoyServes(t *testing.T) {
	t.Parallel()
	for _, path := range realenvoy.All(t) {
		t.Run(realenvoy.Name(path), func(t *testing.T) {
			t.Parallel()
			serves(t, gateway{name: "envoy", envoy: func(testing.TB) string { return path }})
		})
	}
}

func serves(t *testing.T, g gateway) {
	a := authority.New(t)
	files := a.Issue("gateway", "*.default.localhost")
	https := address.Free(t)
	s := g.up(t, "-f", absolute(t, "examples/canary"), "--config", configFile(t, quickToZero), "--https", https, "--tls-cert", files.Chain,
		"--tls-key", files.Key)
	s.waitFor("2-green.yaml")
	s.ready("hello")
	for _, blue := range []int64{70, 20} {
		s.change("hello", split(blue))
		s.ready("hello")
		if got := s.shares(1000, host, "blue", "green"); math.Abs(got["blue"]-float64(blue)) > 7 {
			t.Errorf("1,000 requests were split %v, want %d to %d", got, blue, 100-blue)
		}
	}

	s.create(newApp(t, "sleeper", asleep()))
	if response, body := s.ask("sleeper.default.localhost"); response.StatusCode != http.StatusOK || body != "sleeper-00001" {
		t.Errorf("the revision at zero answers %d: %s", response.StatusCode, body)
	}

	shows(t, https, host, files)
	a.Issue("gateway", "*.default.localhost")
	shows(t, https, host, files)
	config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test does not verify the certificate
	response, err := via(https, config).Get("https://" + host + "/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("over TLS it answers %d", response.StatusCode)
	}
}
