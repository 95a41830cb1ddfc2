package queueproxy_test

import (
	"testing"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/test/hop"
)

func inFront(t testing.TB, app string) (address, headers string) {
	_, address = serve(t, queueproxy.Options{Target: app})
	return address, ""
}

func TestHop(t *testing.T) {
	hop.Test(t, inFront)
	hop.TestHTTP2(t, inFront)
}
