package activator

import (
	"fmt"
	"testing"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/test/hop"
)

// revisionHeaders name the revision of cluster, as gateways do.
const revisionHeaders = contract.NamespaceHeader + ": default\r\n" + contract.RevisionHeader + ": hello-00001\r\n"

// TestHop has applications without a queue-proxy, and TestHops those with one.
func TestHop(t *testing.T) {
	hop.Test(t, func(t testing.TB, app string) (address, headers string) {
		b := start(t, Options{})
		b.set(cluster, facts{"direct": true}, app)
		return b.activator.Address(), revisionHeaders
	})
}

func TestHops(t *testing.T) {
	both := func(t testing.TB, app string) (address, headers string) {
		b := start(t, Options{})
		b.set(cluster, nil, queueOf(t, queueproxy.Options{Target: app}))
		return b.activator.Address(), revisionHeaders
	}
	hop.Test(t, both)
	hop.TestHTTP2(t, both)
}

// queueOf runs a queue-proxy.
func queueOf(t testing.TB, opts queueproxy.Options) (address string) {
	t.Helper()
	p := queueproxy.New(opts)
	ln := listener(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-served; err != nil {
			t.Error(fmt.Errorf("serving: %w", err))
		}
	})
	return ln.Addr().String()
}
