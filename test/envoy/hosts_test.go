package envoy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"sluice.dev/sluice/model"
)

// Gateways find a host in any case, and the application sees the client's spelling.
func TestHostsAreFoundWithoutRegardToCase(t *testing.T) {
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	defer application.Close()
	at := netip.MustParseAddrPort(application.Listener.Addr().String())
	for _, form := range []model.RouteForm{model.Inline, model.Scoped} {
		t.Run(string(form), func(t *testing.T) {
			eachGateway(t, func(t *testing.T, begin func(*control)) {
				c := newControl(t)
				w := worldOf(model.Backend{Endpoints: []model.Endpoint{{Host: at.Addr().String(), Port: int(at.Port())}}})
				w.Gateway.Routes = form
				c.serve(w)
				begin(c)
				for host, want := range map[string]string{
					host: host, strings.ToUpper(host): strings.ToUpper(host),
					"Hello.Default.Localhost:8080": "Hello.Default.Localhost:8080",
					"OTHER.default.localhost":      "404 ", "other.default.localhost": "404 ",
				} {
					if got := hostSeen(t, c.gateway, host); got != want {
						t.Errorf("a request to %s got %q, want %q", host, got, want)
					}
				}
			})
		})
	}
}

// hostSeen returns the application's response to a request for a host, or the status if that is not 200.
func hostSeen(t *testing.T, gateway, host string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+gateway+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%d %s", response.StatusCode, text)
	}
	return string(text)
}
