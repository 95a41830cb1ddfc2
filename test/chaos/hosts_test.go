package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// hosts has the hosts that requests may go to, and the revisions that may answer for each.
type hosts struct {
	mu     sync.Mutex // guards all fields
	random *rand.Rand
	all    map[string]*host
	live   []*host // those that get requests
	paused bool    // none gets requests
	flying int     // requests in flight
}

// host is one host. hosts.mu guards it.
type host struct {
	name    string
	http2   bool
	answers map[int][]span // when a mark may answer
	flying  int
	good    int // requests that succeeded
	last    time.Time
}

// span is an interval, open if to is zero.
type span struct{ from, to time.Time }

func newHosts(seed uint64) *hosts {
	return &hosts{random: rand.New(rand.NewPCG(seed, 2)), all: map[string]*host{}}
}

// allow lets the marks of a Service answer from now on, in addition to those that already may. It adds new hosts, which get no requests
// yet.
func (h *hosts) allow(s *service) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for name, marks := range s.hosts() {
		x := h.all[name]
		if x == nil {
			x = &host{name: name, http2: s.HTTP2, answers: map[int][]span{}}
			h.all[name] = x
		}
		for _, m := range marks {
			if spans := x.answers[m]; len(spans) == 0 || !spans[len(spans)-1].to.IsZero() {
				x.answers[m] = append(spans, span{from: now})
			}
		}
	}
}

// settle is called when a change of the Service is complete: from now on only its marks may answer new requests, and all of its hosts
// get requests.
func (h *hosts) settle(s *service) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for name, marks := range s.hosts() {
		x := h.all[name]
		for m, spans := range x.answers {
			if last := &spans[len(spans)-1]; last.to.IsZero() && !slices.Contains(marks, m) {
				last.to = now
			}
		}
		if !slices.Contains(h.live, x) {
			h.live = append(h.live, x)
		}
	}
}

// rest stops the requests to hosts and waits until those in flight have ended.
func (h *hosts) rest(names []string) error {
	h.mu.Lock()
	var stopped []*host
	for _, name := range names {
		if x := h.all[name]; x != nil {
			stopped = append(stopped, x)
		}
	}
	h.live = slices.DeleteFunc(h.live, func(x *host) bool { return slices.Contains(stopped, x) })
	h.mu.Unlock()
	return h.until(func() bool {
		return !slices.ContainsFunc(stopped, func(x *host) bool { return x.flying > 0 })
	})
}

// forget removes hosts after rest.
func (h *hosts) forget(names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		delete(h.all, name)
	}
}

// pause stops all requests and waits until none is in flight; resume starts them again.
func (h *hosts) pause() error {
	h.mu.Lock()
	h.paused = true
	h.mu.Unlock()
	return h.until(func() bool { return h.flying == 0 })
}

func (h *hosts) resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paused = false
}

// until waits for a condition, which it checks with the mutex locked.
func (h *hosts) until(holds func() bool) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		h.mu.Lock()
		ok := holds()
		h.mu.Unlock()
		if ok {
			return nil
		}
	}
	return fmt.Errorf("requests are still in flight after a minute")
}

// crowd is how many requests may be in flight: while one is held, it takes two descriptors of the gateway and of the activator.
const crowd = 4000

// line is how many of them may be for one host. A Service of three replicas that work on one request at a time answers so many within
// seconds, even on a busy machine. Without a bound its queue could grow for ever there.
const line = 100

// begin chooses a host for a request; nil if none may be sent. The caller must call end.
func (h *hosts) begin() *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused || len(h.live) == 0 || h.flying >= crowd {
		return nil
	}
	for range 3 {
		if x := h.live[h.random.IntN(len(h.live))]; x.flying < line {
			x.flying++
			h.flying++
			return x
		}
	}
	return nil
}

// at returns a host by its name, for a request of an operation; nil if the host gets none.
func (h *hosts) at(name string) *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.live {
		if x.name == name && !h.paused {
			x.flying++
			h.flying++
			return x
		}
	}
	return nil
}

func (h *hosts) end(x *host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.flying--
	h.flying--
}

// others describes the other requests to a host.
func (h *hosts) others(x *host) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.good == 0 {
		return fmt.Sprintf("%d under way, none was ever answered", x.flying)
	}
	return fmt.Sprintf("%d under way, %d answered, the last %v ago", x.flying, x.good, time.Since(x.last).Round(time.Millisecond))
}

// judge returns an error if a mark may not have answered a request of that time.
func (h *hosts) judge(x *host, mark int, sent, answered time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range x.answers[mark] {
		if !s.from.After(answered) && (s.to.IsZero() || !s.to.Before(sent)) {
			x.good, x.last = x.good+1, answered
			return nil
		}
	}
	var may []int
	for m, spans := range x.answers {
		if spans[len(spans)-1].to.IsZero() {
			may = append(may, m)
		}
	}
	slices.Sort(may)
	last := "never"
	if spans := x.answers[mark]; len(spans) > 0 {
		last = spans[len(spans)-1].to.Format(clock)
	}
	return fmt.Errorf("mark %d answered, which was allowed until %s; now %v may", mark, last, may)
}

// clock is the time format of the processes' logs.
const clock = "15:04:05.000"
