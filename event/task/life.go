package task

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// MaxTries is the largest number of tries of a Task, and how many of them its record keeps.
const MaxTries = 20

var (
	// ErrNotDue says that another runner has begun the Task, or that its next try is later.
	ErrNotDue = errors.New("the task is not due")
	// ErrNotLeased says that the Lease has ended: another runner may have the Task, or a client has cancelled it.
	ErrNotLeased = errors.New("the task is no longer this runner's")
	// ErrEnded says that there is nothing left to cancel.
	ErrEnded = errors.New("the task has ended")
	// ErrOpen says that a Task that has not failed cannot be retried.
	ErrOpen = errors.New("the task has not failed: only one that failed or was cancelled can be retried")
)

// Limits of a Retry.
const (
	leastBackoff = 10 * time.Millisecond
	mostBackoff  = time.Hour
)

// Retry says how often a Task is tried, and how long the waits between two tries are.
type Retry struct {
	// Tries is how many tries there are, from 1 to MaxTries.
	Tries int `json:"tries"`
	// First is the wait after the first try. Each next one is twice as long, up to Most.
	First time.Duration `json:"first"`
	Most  time.Duration `json:"most"`
}

// DefaultRetry is that of a Task whose client asks for nothing else.
var DefaultRetry = Retry{Tries: 5, First: time.Second, Most: time.Minute}

// Check says what is wrong with a Retry.
func (r Retry) Check() error {
	switch {
	case r.Tries < 1 || r.Tries > MaxTries:
		return fmt.Errorf("%d tries: want 1 to %d", r.Tries, MaxTries)
	case r.First < leastBackoff || r.Most < r.First || r.Most > mostBackoff:
		return fmt.Errorf("a back-off from %v to %v: want %v to %v, the smaller one first", r.First, r.Most, leastBackoff, mostBackoff)
	}
	return nil
}

// Backoff is the wait after a number of tries. The random number, at least 0 and less than 1, spreads it over the upper half of its
// length, so that what failed together is not tried again together.
func (r Retry) Backoff(tried int, random float64) time.Duration {
	wait := r.First
	for i := 1; i < tried && wait < r.Most; i++ {
		wait *= 2
	}
	wait = min(wait, r.Most)
	return wait/2 + time.Duration(random*float64(wait/2))
}

// Begin begins a try of a Task that is due, or whose runner has let its Lease end. A try that was interrupted has happened, and counts.
// Where none is left the Task fails instead of running; the caller looks at its State.
func (t *Task) Begin(now time.Time, lease Lease) error {
	switch {
	case !t.State.Open() || now.Before(t.Next()):
		return ErrNotDue
	case t.State == Running:
		t.endTry(Try{Ended: now, Why: interrupted})
	}
	if !t.Deadline.IsZero() && !now.Before(t.Deadline) {
		t.end(now, Failed, "its deadline passed before a replica answered"+t.lastly())
		return nil
	}
	if t.Tried >= t.Retry.Tries {
		t.end(now, Failed, fmt.Sprintf("the last of %d tries failed%s", t.Tried, t.lastly()))
		return nil
	}
	t.State, t.Lease, t.Due, t.Why = Running, lease, time.Time{}, ""
	t.Tried++
	t.Tries = append(slices.Clone(t.Tries[max(0, len(t.Tries)+1-MaxTries):]), Try{Began: now})
	return nil
}

// interrupted is what is wrong with a try whose runner ended before it recorded the outcome.
const interrupted = "the process that ran it ended before the response was recorded"

// Renew extends the Lease of a Task that is still its owner's.
func (t *Task) Renew(lease Lease) error {
	if t.State != Running || t.Lease.Owner != lease.Owner {
		return ErrNotLeased
	}
	t.Lease = lease
	return nil
}

// Abandon makes a Task due at once whose runner is known to be gone, such as when the only process with access to a store starts.
func (t *Task) Abandon(now time.Time) error {
	if t.State != Running {
		return ErrNotLeased
	}
	t.endTry(Try{Ended: now, Why: interrupted})
	t.State, t.Lease, t.Due, t.Why = Waiting, Lease{}, now, interrupted
	return nil
}

// Interrupt ends a try that its runner cuts off because it ends itself. The Task is due at once, and the try does not count.
func (t *Task) Interrupt(now time.Time, owner string) error {
	if t.State != Running || t.Lease.Owner != owner {
		return ErrNotLeased
	}
	t.endTry(Try{Ended: now, Why: "it was cut off: the process that ran it was stopped"})
	t.Tried--
	t.State, t.Lease, t.Due = Waiting, Lease{}, now
	return nil
}

// Outcome is how a try ended.
type Outcome struct {
	// Now is when, Random a number for the back-off, see Backoff.
	Now    time.Time
	Random float64
	// Owner is whose Lease it was.
	Owner string
	// Result is the response; nil when there was none, and Why says the reason.
	Result  *Result
	Replica string
	Why     string
	// Wait is how long the replica wants no other try, by Retry-After; 0 for no wish.
	Wait time.Duration
	// Unsent says that the request reached no replica. Such a try is not counted, since it ran nothing.
	Unsent bool
}

// Finish records the outcome of a try: the Task is done, fails, or waits for the next try.
func (t *Task) Finish(o Outcome) error {
	if t.State != Running || t.Lease.Owner != o.Owner {
		return ErrNotLeased
	}
	status := 0
	if o.Result != nil {
		status = o.Result.Status
		t.Status, t.Size = status, len(o.Result.Body)
	}
	t.endTry(Try{Ended: o.Now, Status: status, Replica: o.Replica, Why: o.Why})
	if o.Unsent {
		t.Tried--
	}
	switch retried := o.Result == nil || Retried(status); {
	case o.Result != nil && status < badRequest:
		t.end(o.Now, Done, "")
	case !retried:
		t.end(o.Now, Failed, fmt.Sprintf("the application answered %d, which another try would not change", status))
	case t.Tried >= t.Retry.Tries:
		t.end(o.Now, Failed, fmt.Sprintf("the last of %d tries failed%s", t.Tried, t.lastly()))
	default:
		t.wait(o)
	}
	return nil
}

// wait makes the Task wait for its next try, or fail if that were after its deadline.
func (t *Task) wait(o Outcome) {
	due := o.Now.Add(max(t.Retry.Backoff(max(t.Tried, 1), o.Random), min(o.Wait, mostBackoff)))
	if !t.Deadline.IsZero() && !due.Before(t.Deadline) {
		t.end(o.Now, Failed, "the next try would be after its deadline"+t.lastly())
		return
	}
	t.State, t.Lease, t.Due = Waiting, Lease{}, due
	t.Why = fmt.Sprintf("try %d of %d is next%s", t.Tried+1, t.Retry.Tries, t.lastly())
}

// Retried says that a response is one after which another try may be answered otherwise: 408, 425, 429 and those from 500, but not 501.
func Retried(status int) bool {
	switch status {
	case requestTimeout, tooEarly, tooManyRequests:
		return true
	}
	return status >= internalServerError && status != notImplemented
}

// Statuses of HTTP.
const (
	badRequest          = 400
	requestTimeout      = 408
	tooEarly            = 425
	tooManyRequests     = 429
	internalServerError = 500
	notImplemented      = 501
)

// Cancel ends a Task that has not ended. Its runner finds out when it renews or finishes.
func (t *Task) Cancel(now time.Time) error {
	if !t.State.Open() {
		return ErrEnded
	}
	if t.State == Running {
		t.endTry(Try{Ended: now, Why: "cancelled while it ran"})
	}
	t.end(now, Cancelled, "a client cancelled it")
	return nil
}

// Again makes a Task that failed or was cancelled wait once more, with all its tries. A deadline that is over does not hold any more.
func (t *Task) Again(now time.Time) error {
	if t.State != Failed && t.State != Cancelled {
		return ErrOpen
	}
	t.State, t.Due, t.Ended, t.Tried = Waiting, now, time.Time{}, 0
	t.Status, t.Size, t.Deliveries, t.Why = 0, 0, nil, "a client has it tried again"
	if !t.Deadline.IsZero() && !now.Before(t.Deadline) {
		t.Deadline = time.Time{}
	}
	return nil
}

// end ends the Task, and begins the delivery of what somebody is to get.
func (t *Task) end(now time.Time, state State, why string) {
	t.State, t.Lease, t.Due, t.Ended, t.Why = state, Lease{}, time.Time{}, now, why
	if state == Cancelled {
		return // whoever cancelled it knows
	}
	if t.Callback != "" {
		t.Deliveries = append(t.Deliveries, Delivery{URL: t.Callback, Due: now})
	}
	if t.DeadLetter != "" && state == Failed {
		t.Deliveries = append(t.Deliveries, Delivery{URL: t.DeadLetter, Letter: true, Due: now})
	}
}

// endTry fills in how the newest try ended.
func (t *Task) endTry(end Try) {
	if n := len(t.Tries); n > 0 && t.Tries[n-1].Ended.IsZero() {
		end.Began = t.Tries[n-1].Began
		t.Tries = slices.Clone(t.Tries) // other copies of the Task keep theirs
		t.Tries[n-1] = end
	}
}

// lastly says what was wrong with the last try.
func (t *Task) lastly() string {
	if len(t.Tries) == 0 {
		return ""
	}
	switch last := t.Tries[len(t.Tries)-1]; {
	case last.Why != "":
		return ": " + last.Why
	case last.Status != 0:
		return fmt.Sprintf(": the answer was %d", last.Status)
	}
	return ""
}

// DeliveryRetry is how often a delivery is tried.
var DeliveryRetry = Retry{Tries: 8, First: time.Second, Most: 5 * time.Minute}

// Sent is the outcome of one try to deliver.
type Sent struct {
	Now    time.Time
	Random float64 // for the back-off
	Letter bool    // which delivery it was
	// Wrong is nil when it arrived. Final says that another try would not change it.
	Wrong error
	Final bool
}

// Delivered records a try to deliver. One that was interrupted is not recorded, and repeated.
func (t *Task) Delivered(s Sent) error {
	i := slices.IndexFunc(t.Deliveries, func(d Delivery) bool { return d.Letter == s.Letter && !d.Due.IsZero() })
	if i < 0 {
		return ErrEnded
	}
	t.Deliveries = slices.Clone(t.Deliveries)
	d := &t.Deliveries[i]
	d.Tried++
	switch {
	case s.Wrong == nil:
		d.Due, d.Sent, d.Why = time.Time{}, true, ""
	case s.Final || d.Tried >= DeliveryRetry.Tries:
		d.Due, d.Why = time.Time{}, s.Wrong.Error()
	default:
		d.Due, d.Why = s.Now.Add(DeliveryRetry.Backoff(d.Tried, s.Random)), s.Wrong.Error()
	}
	return nil
}
