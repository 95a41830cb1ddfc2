package peers

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkActivator compares the activators in front of the same application, as BenchmarkQueueProxy does. No request has to wait,
// so the result is the cost of requests that pass through each activator.
func BenchmarkActivator(b *testing.B) {
	peer := filepath.Join(b.TempDir(), "peer")
	if out, err := exec.Command("go", "build", "-o", peer, "./activator").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v: %s", err, out)
	}
	app, appPID := printed(b, exec.Command(peer, "app"))
	sluice, sluicePID := printed(b, exec.Command(peer, "sluice", app))
	knative, knativePID := printed(b, exec.Command(peer, "knative", app))
	for b.Loop() { // once: the rounds below are fixed and long enough
	}
	compare(b, forRevision{&http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}, []*party{
		{name: "direct", url: "http://" + app, pid: appPID},
		{name: "sluice", url: "http://" + sluice, pid: sluicePID},
		{name: "knative", url: "http://" + knative, pid: knativePID},
	})
}

// forRevision adds the headers that a gateway adds.
type forRevision struct{ *http.Transport }

func (f forRevision) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header["Knative-Serving-Namespace"] = []string{"default"}
	r.Header["Knative-Serving-Revision"] = []string{"hello-00001"}
	return f.Transport.RoundTrip(r)
}
