package activator

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
)

// maxSender bounds the name of a sender, in bytes. Of a longer one the beginning counts.
const maxSender = 256

var (
	errDeadline     = &refusal{http.StatusGatewayTimeout, contract.ReasonDeadline, 0, "the deadline of the task has passed"}
	errDeadlinePast = &refusal{http.StatusBadRequest, contract.ReasonBadTask, 0,
		"the header " + contract.DeadlineHeader + " names a time that has passed: the task has not been run"}
	errBadDeadline = &refusal{http.StatusBadRequest, contract.ReasonBadTask, 0,
		"the header " + contract.DeadlineHeader + " must be one time of RFC 3339, such as 2030-01-31T12:00:00Z"}
	errBadPriority = &refusal{http.StatusBadRequest, contract.ReasonBadTask, 0,
		"the header " + contract.PriorityHeader + " must be one of " + contract.PriorityHigh + ", " + contract.PriorityNormal + " and " +
			contract.PriorityLow}
	errNotOwner = &refusal{http.StatusServiceUnavailable, contract.ReasonUnsent, 1,
		"this activator does not own the revision; the replica has not received the task"}
)

// readTerms reads what a request asks for if it is a task, which is not known yet of a revision's first request. A request that is none
// may have any such headers.
func (x *exchange) readTerms() {
	h := x.r.Header
	if values := h[contract.DeadlineHeader]; values != nil {
		at, err := time.Parse(time.RFC3339Nano, values[0])
		x.Deadline = at
		if err != nil || len(values) > 1 {
			x.Deadline, x.problem = time.Time{}, errBadDeadline
		} else if !at.After(x.Arrived) && !x.Handed {
			x.problem = errDeadlinePast
		}
	}
	if values := h[contract.PriorityHeader]; values != nil {
		level, known := prioritiesByName[values[0]]
		x.Priority = level
		if !known || len(values) > 1 {
			x.problem = errBadPriority
		}
	}
	for _, name := range []string{contract.SenderHeader, contract.EventSourceHeader} {
		if values := h[name]; values != nil {
			x.Sender = values[0][:min(len(values[0]), maxSender)]
			return
		}
	}
}

var prioritiesByName = map[string]dispatch.Priority{
	contract.PriorityHigh: dispatch.High, contract.PriorityNormal: dispatch.Normal, contract.PriorityLow: dispatch.Low,
}

// handed reports whether another activator has handed a request over.
func handed(r *http.Request) bool {
	values := r.Header[contract.SlotHeader]
	return len(values) == 1 && values[0] == contract.SlotHanded
}

// slot is the value of the header that tells the receiver of a task why it gets it.
func (x *exchange) slot() string {
	if x.ToOwner() {
		return contract.SlotHanded
	}
	return contract.SlotLeased
}

// untilDeadline ends the exchange when the deadline of its task passes, unless stop is called before.
func (x *exchange) untilDeadline() (stop func()) {
	if !x.Task() || x.Deadline.IsZero() {
		return func() {}
	}
	timer := time.AfterFunc(time.Until(x.Deadline), func() { x.cancel(errDeadline) })
	return func() { timer.Stop() }
}

// tooManyTasks is the answer to a task for which the queue has no room. It says when those that wait will have run.
func tooManyTasks(full *dispatch.FullError) *refusal {
	const most = 3600
	seconds := int(math.Ceil(min(max(full.After.Seconds(), 1), most)))
	return &refusal{http.StatusTooManyRequests, contract.ReasonQueueFull, seconds,
		fmt.Sprintf("as many tasks wait for the revision as may; try again in %d s", seconds)}
}
