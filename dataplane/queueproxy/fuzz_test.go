package queueproxy_test

import (
	"testing"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/test/hop"
)

// FuzzRequests has clients send anything; see hop.Fuzz.
func FuzzRequests(f *testing.F) {
	hop.Fuzz(f, func(t testing.TB, app string) (address, headers string) {
		_, address = serve(t, queueproxy.Options{Target: app})
		return address, ""
	})
}
