package queueproxy

import (
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/contract"
)

// deadline is when all streams end although the replica runs on, because no Route names its revision any more.
type deadline struct {
	mu     sync.Mutex
	at     time.Time // as it was set; zero: never
	ends   time.Time // the same by the clock of this machine
	signed time.Time // of the message that set it
	timer  *time.Timer
}

// EndStreamsAt has the streams in flight at a time cut then. The zero Time means never. A time that is set again has no effect.
func (p *Proxy) EndStreamsAt(at time.Time) {
	d := &p.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	p.endStreamsAt(at, time.Until(at))
}

// endStreamsAt is EndStreamsAt with the mutex held: the time is so far from now.
func (p *Proxy) endStreamsAt(at time.Time, left time.Duration) {
	d := &p.deadline
	if d.at.Equal(at) {
		return
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = at; !at.IsZero() {
		d.ends = time.Now().Add(left)
		d.timer = time.AfterFunc(left, p.CutStreams)
	}
}

// streamDrain is for how long streams may go on from now when the replica drains; 0 means without a bound.
func (p *Proxy) streamDrain() time.Duration {
	p.deadline.mu.Lock()
	at, ends := p.deadline.at, p.deadline.ends
	p.deadline.mu.Unlock()
	if at.IsZero() {
		return p.opts.StreamDrain
	}
	left := max(time.Until(ends), time.Millisecond) // 0 would mean no bound
	if p.opts.StreamDrain > 0 {
		left = min(left, p.opts.StreamDrain)
	}
	return left
}

// StreamDeadline is for the platform: it takes a contract.StreamDeadline with its proof. It answers 403 without a valid proof, and 409
// when a later message has come before.
func (p *Proxy) StreamDeadline() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		message := contract.StreamDeadline{Namespace: p.opts.Revision.Namespace, Revision: p.opts.Revision.Name, Pod: p.opts.Pod}
		if err := message.ReadQuery(r.URL.Query()); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !p.opts.ActivatorKey.Proves(message, r.Header.Get(contract.ProofHeader)) {
			http.Error(w, "only the controller of this installation may set the end of streams", http.StatusForbidden)
			return
		}
		d := &p.deadline
		d.mu.Lock()
		defer d.mu.Unlock()
		if message.Signed.Before(d.signed) {
			http.Error(w, "a later message has come before", http.StatusConflict)
			return
		}
		d.signed = message.Signed
		// Both times are by the controller's clock, which may be another one than that of this machine.
		p.endStreamsAt(message.At, message.At.Sub(message.Signed))
	})
}
