package queueproxy_test

import (
	"testing"

	"sluice.dev/sluice/test/hop"
)

// FuzzRequests has clients send anything; see hop.Fuzz.
func FuzzRequests(f *testing.F) {
	hop.Fuzz(f, inFront)
}
