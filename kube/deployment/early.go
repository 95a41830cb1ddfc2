package deployment

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// The kubelet probes at most once a second, and reports what it finds later still. Requests may wait for the first pod of a revision. So
// the Runtime asks the queue-proxies of starting pods itself, where the user leaves to the platform how often it probes (a period of 0).
// What the kubelet says counts where the Runtime cannot reach the pod.

// question is whether a starting pod is ready.
type question struct {
	cancel context.CancelFunc
	yes    time.Time // when the queue-proxy said so; zero until then
	no     string    // why not, as it said last
}

// answers are those of pods, by UID.
type answers struct {
	yes map[types.UID]time.Time // since when a pod is ready
	no  map[types.UID]string    // why another one is not
}

const (
	firstAsk   = 5 * time.Millisecond // between two questions to a pod that cannot be reached or is not ready
	lastAsk    = 5 * time.Second
	askTimeout = 12 * time.Second // the queue-proxy holds its answer for up to 10 s
	// confirmation is for how long an answer counts without the kubelet's.
	confirmation = 30 * time.Second
)

// ask asks the pods that may be ready before the kubelet says so, and forgets those that are not starting any more. The Runtime's mutex is
// held.
func (r *Runtime) ask(m *member, pods []*corev1.Pod) {
	starting := map[types.UID]bool{}
	for _, pod := range pods {
		if !mayAsk(m.workload) || !mayBeReady(pod) {
			continue
		}
		starting[pod.UID] = true
		if m.questions[pod.UID] != nil || r.asking == nil {
			continue
		}
		ctx, cancel := context.WithCancel(r.asking)
		q := &question{cancel: cancel}
		m.questions[pod.UID] = q
		revision := m.workload.Revision
		url := urlOf(pod.Status.PodIP, adminPort, "/ready")
		go func() {
			defer cancel()
			if !untilReady(ctx, url, func(why string) { r.refused(q, why) }) {
				return
			}
			r.answered(revision, q, time.Now())
			select { // the kubelet says so too by then, or something is wrong with the pod or its node
			case <-ctx.Done():
			case <-time.After(confirmation):
				r.answered(revision, q, time.Time{})
			}
		}()
	}
	for uid, q := range m.questions {
		if !starting[uid] {
			q.cancel()
			delete(m.questions, uid)
		}
	}
}

// answered notes when a pod said that it is ready, or that this does not count any more.
func (r *Runtime) answered(revision model.Key, q *question, when time.Time) {
	r.mu.Lock()
	q.yes = when
	r.mu.Unlock()
	r.reports.Add(revision)
}

// refused notes why a pod said that it is not ready. A failure that is reported later names it.
func (r *Runtime) refused(q *question, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q.no = why
}

func (m *member) stopAsking() {
	for _, q := range m.questions {
		q.cancel()
	}
	for _, t := range m.deliveries {
		t.cancel()
	}
}

// answers returns what pods have said.
func (m *member) answers() answers {
	a := answers{yes: map[types.UID]time.Time{}, no: map[types.UID]string{}}
	for uid, q := range m.questions {
		if !q.yes.IsZero() {
			a.yes[uid] = q.yes
		} else if q.no != "" {
			a.no[uid] = q.no
		}
	}
	return a
}

// mayAsk says whether the queue-proxies of a workload answer for its application, and the user leaves to the platform how often
// they are asked.
func mayAsk(w model.Workload) bool {
	probe := w.Containers[0].Readiness
	return !w.Direct && probe != nil && probe.Period == 0 && len(probe.Exec) == 0
}

// mayBeReady says whether all that a pod lacks for being ready is the answer of its queue-proxy.
func mayBeReady(pod *corev1.Pod) bool {
	if _, ready := readySince(pod); ready || pod.DeletionTimestamp != nil || pod.Status.PodIP == "" {
		return false
	}
	runs := func(s corev1.ContainerStatus) bool {
		return s.State.Running != nil && (s.Ready || s.Name == queueProxyName)
	}
	started := 0
	for _, s := range pod.Status.ContainerStatuses {
		if runs(s) {
			started++
		}
	}
	return started == len(pod.Spec.Containers) && len(pod.Spec.ReadinessGates) == 0
}

// untilReady asks a queue-proxy until it says that its pod is ready. It returns false when the context ends before, and calls refused when
// the queue-proxy says why its pod is not ready.
func untilReady(ctx context.Context, url string, refused func(why string)) bool {
	for pause := firstAsk; ; pause = min(2*pause, lastAsk) {
		ready, why := isReady(ctx, url)
		if ready {
			return true
		}
		if why != "" {
			refused(why)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// maxWhy bounds what the last probe found, in bytes: a condition has it.
const maxWhy = 500

func isReady(ctx context.Context, url string) (yes bool, why string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, ""
	}
	response, err := asker.Do(request)
	if err != nil {
		return false, ""
	}
	defer func() { _ = response.Body.Close() }() // all that matters is read
	text, _ := io.ReadAll(io.LimitReader(response.Body, int64(len(contract.NotReady)+maxWhy)))
	why, _ = strings.CutPrefix(strings.TrimSpace(string(text)), contract.NotReady)
	return response.StatusCode == http.StatusOK, strings.ToValidUTF8(why, "")
}

// asker opens a connection for each question, because a pod is asked until it answers once, and follows no redirect.
var asker = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}
