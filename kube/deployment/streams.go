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

// The end of a revision's streams changes during the life of its pods, so the Runtime tells it to their queue-proxies. A pod that was never
// told has no end of streams.

// telling is what a queue-proxy was told, or is being told.
type telling struct {
	at     time.Time
	cancel context.CancelFunc
}

// tells says whether a pod knows an end, or is being told it.
func (t *telling) tells(at time.Time) bool {
	if t == nil {
		return at.IsZero()
	}
	return t.at.Equal(at)
}

const (
	firstTell   = 50 * time.Millisecond // between two attempts
	lastTell    = 5 * time.Second
	tellTimeout = 5 * time.Second
)

// tell tells the queue-proxies that do not know it yet when the streams of a revision end. The Runtime's mutex is held.
func (r *Runtime) tell(m *member, pods []*corev1.Pod) {
	if r.options.Signer == nil || r.asking == nil {
		return
	}
	there := map[types.UID]bool{}
	for _, pod := range pods {
		if !queueProxyRuns(pod) {
			continue
		}
		there[pod.UID] = true
		at, before := m.workload.StreamDeadline, m.tellings[pod.UID]
		if before.tells(at) {
			continue
		}
		if before != nil {
			before.cancel()
		}
		ctx, cancel := context.WithCancel(r.asking)
		m.tellings[pod.UID] = &telling{at: at, cancel: cancel}
		go r.untilTold(ctx, m.workload.Revision, pod, at)
	}
	for uid, t := range m.tellings {
		if !there[uid] {
			t.cancel()
			delete(m.tellings, uid)
		}
	}
}

// untilTold sends a message to a queue-proxy until it takes it or never will. Each attempt is signed anew, so that a clock that is behind
// that of the last leader only delays it.
func (r *Runtime) untilTold(ctx context.Context, revision model.Key, pod *corev1.Pod, at time.Time) {
	message := contract.StreamDeadline{Namespace: revision.Namespace, Revision: revision.Name, Pod: pod.Name, At: at}
	for pause := firstTell; ; pause = min(2*pause, lastTell) {
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
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
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

// queueProxyRuns says whether a pod, which may be draining, has a queue-proxy that can be told something.
func queueProxyRuns(pod *corev1.Pod) bool {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == queueProxyName && s.State.Running != nil {
			return pod.Status.PodIP != ""
		}
	}
	return false
}
