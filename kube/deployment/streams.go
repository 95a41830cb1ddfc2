package deployment

import (
	"context"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// The end of a revision's streams changes during the life of its pods, so the Runtime sends it to their queue-proxies. A pod that never got
// one has no end of streams.

// delivery is an end of streams that a queue-proxy has, or is being sent.
type delivery struct {
	at     time.Time
	cancel context.CancelFunc
}

// has says whether a queue-proxy has an end, or is being sent it.
func (d *delivery) has(at time.Time) bool {
	if d == nil {
		return at.IsZero()
	}
	return d.at.Equal(at)
}

const (
	firstSend   = 50 * time.Millisecond // between two attempts
	lastSend    = 5 * time.Second
	sendTimeout = 5 * time.Second
)

// deliver sends the end of the streams of a revision to the queue-proxies that do not have it. The Runtime's mutex is held.
func (r *Runtime) deliver(m *member, pods []*corev1.Pod) {
	if r.options.Signer == nil || r.asking == nil {
		return
	}
	there := map[types.UID]bool{}
	for _, pod := range pods {
		if !queueProxyRuns(pod) {
			continue
		}
		there[pod.UID] = true
		at, before := m.workload.StreamDeadline, m.deliveries[pod.UID]
		if before.has(at) {
			continue
		}
		if before != nil {
			before.cancel()
		}
		ctx, cancel := context.WithCancel(r.asking)
		m.deliveries[pod.UID] = &delivery{at: at, cancel: cancel}
		go r.untilTaken(ctx, m.workload.Revision, pod, at)
	}
	for uid, d := range m.deliveries {
		if !there[uid] {
			d.cancel()
			delete(m.deliveries, uid)
		}
	}
}

// untilTaken sends a message to a queue-proxy until it takes it or never will. Each attempt is signed anew, so that a clock that is behind
// that of the last leader only delays it.
func (r *Runtime) untilTaken(ctx context.Context, revision model.Key, pod *corev1.Pod, at time.Time) {
	message := contract.StreamDeadline{Namespace: revision.Namespace, Revision: revision.Name, Pod: pod.Name, At: at}
	for pause := firstSend; ; pause = min(2*pause, lastSend) {
		message.Signed = time.Now()
		if status := r.send(ctx, pod.Status.PodIP, message); status != 0 && status != http.StatusConflict {
			if status != http.StatusOK { // a queue-proxy of another installation or version
				r.log.Debug("a queue-proxy does not take the end of its streams", "pod", pod.Name, "revision", revision, "status", status)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// send returns the status of the answer, 0 when there is none.
func (r *Runtime) send(ctx context.Context, ip string, message contract.StreamDeadline) int {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	url := urlOf(ip, adminPort, contract.StreamDeadlinePath) + "?" + message.Query()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, nil)
	if err != nil {
		return 0
	}
	request.Header.Set(contract.ProofHeader, message.Prove(r.options.Signer))
	response, err := asker.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close() // only the status matters
	return response.StatusCode
}

// queueProxyRuns says whether a pod, which may be draining, has a queue-proxy that can be sent a message.
func queueProxyRuns(pod *corev1.Pod) bool {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == queueProxyName && s.State.Running != nil {
			return pod.Status.PodIP != ""
		}
	}
	return false
}
