package queueproxy

import (
	"context"
	"io"
	"net/http"
	"strings"
)

// The headers of Knative's probes, in canonical form as they are map keys here.
const (
	networkProbe  = "K-Network-Probe"
	networkHash   = "K-Network-Hash"
	kubeletProbe  = "K-Kubelet-Probe"
	probeOfQueue  = "queue" // asks whether this replica is ready
	probeOfRoutes = "probe" // asks whether the gateway's newest configuration leads here
)

// isProbe tells requests of the platform from those of users.
func isProbe(r *http.Request) bool {
	if r.Header[networkProbe] != nil || r.Header[kubeletProbe] != nil {
		return true
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "kube-probe/") ||
		strings.HasPrefix(agent, "Knative-Activator-Probe") ||
		strings.HasPrefix(agent, "Knative-Autoscaling-Probe")
}

// answerProbe answers as Knative's queue-proxy does. The refusal of other values than its own matters: asked for
// "activator", only an activator says 200, which is how one finds out who stands behind an address.
func (p *Proxy) answerProbe(w http.ResponseWriter, r *http.Request) {
	value := r.Header.Get(networkProbe)
	if value == probeOfRoutes {
		hash := r.Header.Get(networkHash)
		if hash == "" {
			http.Error(w, "a probe must include a non-empty "+networkHash+" header", http.StatusBadRequest)
			return
		}
		w.Header().Set(networkHash, hash)
		w.WriteHeader(http.StatusOK)
		return
	}
	if p.Draining() {
		refuse(w, http.StatusServiceUnavailable, ReasonShuttingDown, errShuttingDown.Error())
		return
	}
	if value != probeOfQueue {
		http.Error(w, "unexpected probe header value: "+value, http.StatusBadRequest)
		return
	}
	if err := p.ready(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, probeOfQueue) // a client that has gone needs no answer
}

func (p *Proxy) ready(ctx context.Context) error {
	if p.opts.Ready == nil {
		return nil
	}
	return p.opts.Ready(ctx)
}
