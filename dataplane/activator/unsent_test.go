package activator

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/dataplane/queueproxy"
)

// TestRequestsThatWereNotPassedOnGoToAnotherReplica has two replicas, and the application of one of them is not there.
func TestRequestsThatWereNotPassedOnGoToAnotherReplica(t *testing.T) {
	for protocol, client := range clients(t) {
		t.Run(protocol, func(t *testing.T) {
			b := start(t, Options{})
			proxy := queueproxy.New(queueproxy.Options{Target: "127.0.0.1:1"}) // nobody listens on that port
			front := listener(t)
			go func() { _ = proxy.Serve(front) }()
			t.Cleanup(proxy.Close)
			good := replicaOf(t, queueproxy.Options{}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
			b.set(cluster, facts{}, front.Addr().String(), good)
			passed := 0
			for range 30 {
				do(client, b.request(http.MethodGet, "/", nil)).want(t, 200, "")
				// The body has been read when the replica says that it has not passed the request on: it is for the gateway to repeat it.
				a := do(client, b.request(http.MethodPost, "/", strings.NewReader("ping")))
				if a.Header.Get(ReasonHeader) == reasonUnsent {
					passed++
					continue
				}
				a.want(t, 200, "ping")
			}
			if passed > 10 {
				t.Errorf("the replica whose application is not there was sent %d of 30 requests", passed)
			}
			if s := b.activator.Stats(); s.Retried == 0 && passed == 0 {
				t.Error("the replica whose application is not there was sent nothing")
			}
		})
	}
}
