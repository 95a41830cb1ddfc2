package activator

import (
	"testing"

	"sluice.dev/sluice/test/hop"
)

// FuzzRequests has clients send anything; see hop.Fuzz.
func FuzzRequests(f *testing.F) {
	hop.Fuzz(f, func(t testing.TB, app string) (address, headers string) {
		b := start(t, Options{})
		b.set(cluster, facts{"direct": true}, app)
		return b.activator.Address(), revisionHeaders
	})
}
