package activator

import (
	"io"
	"net/http"
)

// The headers of Knative's probes, in canonical form as they are map keys here.
const (
	networkProbe  = "K-Network-Probe"
	networkHash   = "K-Network-Hash"
	probeOfRoutes = "probe" // asks whether the gateway's newest configuration leads here
)

// answerProbe answers as Knative's activator does: asked for "activator", only an activator says 200, which is how one finds
// out who stands behind an address.
func answerProbe(w http.ResponseWriter, r *http.Request) {
	switch value := r.Header.Get(networkProbe); value {
	case probeOfRoutes:
		hash := r.Header.Get(networkHash)
		if hash == "" {
			http.Error(w, "a probe must include a non-empty "+networkHash+" header", http.StatusBadRequest)
			return
		}
		w.Header().Set(networkHash, hash)
		w.WriteHeader(http.StatusOK)
	case proxyValue:
		_, _ = io.WriteString(w, proxyValue) // a client that has gone needs no answer
	default:
		http.Error(w, "unexpected probe header value: "+value, http.StatusBadRequest)
	}
}
