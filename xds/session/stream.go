package session

import (
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/hashicorp/go-hclog"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// maxTypes bounds how many types one stream may subscribe to; Envoy knows about a dozen.
const maxTypes = 32

// Request is a discovery request of either protocol.
type Request struct {
	Node  *corev3.Node
	Type  string           // type URL
	Nonce string           // of the response that it answers
	Error *statuspb.Status // error_detail: the request is a NACK

	Subscribe, Unsubscribe []string          // delta
	Initial                map[string]string // delta: the versions, by name, that the client has

	Names   []string // state of the world
	Version string   // state of the world: acknowledged last
}

// Response is a discovery response of either protocol.
type Response struct {
	Type      string // type URL
	Version   string // of everything that the client has of the type with this response
	Nonce     string
	Resources []*offer.Entry
	Removed   []string // delta
}

// Protocol is one of the two variants of xDS: Delta or StateOfTheWorld.
type Protocol interface {
	// String is delta or sotw.
	String() string
	// subscribe takes over the subscriptions of a request; first is the first one of its type. Its error ends the stream.
	subscribe(w *watch, r *Request, first bool, now time.Time) error
	// current is whether the request answers or follows the last response, rather than one that is out of date.
	current(w *watch, r *Request, first bool) bool
	// whole is whether a response of a resource.Kind that is Full holds everything.
	whole() bool
	// responses are the parts in which a push is sent, each small enough for any client where that is possible.
	responses(w *watch, p push) []push
}

// Client is what a stream has to know of its client.
type Client struct {
	Protocol Protocol
	Role     uint8
	ID       string // node id
	// OneType says that the stream is of one type, and the client subscribes to no other on it.
	OneType bool
	// NamesOnly says that the client may not subscribe to everything of a type.
	NamesOnly bool
	// Heard is when the client was heard last, in Unix nanoseconds. Any goroutine may call it.
	Heard func() int64
	// Send sends a response, and returns when that was done. An error ends the stream.
	Send func(Response) (time.Time, error)
}

// Stream is one stream of one client. One goroutine, the writer, owns it.
type Stream struct {
	// Set once.
	hub    *Hub
	client Client
	logger hclog.Logger
	born   time.Time
	wake   chan struct{}

	// Any goroutine may read it.
	traffic atomicTraffic

	// Guarded by Hub.mu.
	behind      uint64 // the oldest state that the client has not answered for; 0: none
	behindSince time.Time

	// Only the writer's.
	watches   []*watch // in the order of resource.Kinds
	seq       uint64   // the state that the writer collected last
	nonces    uint64   // used so far
	wave      *wave
	expects   map[string]map[string]expectation // by type and name
	never     map[string]bool                   // types that the client did not subscribe to though it was expected to
	returned  bool                              // the client has resources from an earlier stream, and may serve by them
	hasAcked  bool                              // the client has acknowledged a resource
	silent    bool                              // the client did not answer in time; the stream goes ahead without it until it does
	lastRoute time.Time                         // when listeners or routes were sent last
}

// expectation is a subscription that a client will make because of a resource that it was sent.
type expectation struct {
	stage    resource.Stage // of that resource
	since    uint64
	deadline time.Time
}

// Join begins a stream. The caller must end it with Leave.
func (h *Hub) Join(c Client, now time.Time) *Stream {
	st := &Stream{
		hub: h, client: c, born: now,
		logger:  h.options.Logger.With("client", c.ID, "role", contract.RoleName(c.Role)),
		wake:    make(chan struct{}, 1),
		expects: map[string]map[string]expectation{},
		never:   map[string]bool{},
	}
	h.mu.Lock()
	h.streams[resource.RoleIndex(c.Role)][st] = struct{}{}
	if !c.OneType {
		h.setBehind(st, 1, now) // until the client has said what it has
	}
	h.mu.Unlock()
	st.logger.Debug("client connected")
	h.options.Notify()
	return st
}

// Leave ends the stream and all its subscriptions.
func (st *Stream) Leave(now time.Time) {
	st.unsubscribeAll(now)
	h, i := st.hub, resource.RoleIndex(st.client.Role)
	h.mu.Lock()
	delete(h.streams[i], st)
	delete(h.lagging[i], st)
	h.mu.Unlock()
	st.logger.Debug("client gone")
	h.options.Notify()
}

// Changed has a token when something has changed that Advance has not seen.
func (st *Stream) Changed() <-chan struct{} { return st.wake }

// signal wakes the writer; it never blocks.
func (st *Stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// Handle takes in a request. Advance sends the answer. An error ends the stream.
func (st *Stream) Handle(r *Request, now time.Time) error {
	w := st.watch(r.Type)
	first := w == nil
	if first {
		if len(st.watches) >= maxTypes {
			return status.Errorf(codes.ResourceExhausted, "a stream may ask for %d types", maxTypes)
		}
		w = newWatch(st, r.Type)
		delete(st.never, r.Type)
		st.returned = st.returned || len(r.Initial) > 0 || r.Version != ""
		st.watches = append(st.watches, w)
		slices.SortStableFunc(st.watches, func(a, b *watch) int { return a.rank - b.rank })
	}
	st.answered(w, r, now) // the nonce names the response, whatever was sent since
	if !st.client.Protocol.current(w, r, first) {
		return nil
	}
	return st.client.Protocol.subscribe(w, r, first, now)
}

func (st *Stream) watch(url string) *watch {
	for _, w := range st.watches {
		if w.url == url {
			return w
		}
	}
	return nil
}

// Advance sends everything that may be sent now.
func (st *Stream) Advance(now time.Time) error {
	st.collect(now)
	return st.sendAll(now)
}

// collect takes over what has changed since the last time. All of it belongs to one state.
func (st *Stream) collect(now time.Time) {
	type found struct {
		watch *watch
		since uint64
	}
	var changed []found
	h := st.hub
	h.mu.Lock()
	st.seq = h.offers.Seq()
	for _, w := range st.watches {
		w.fixedVersion = h.offers.Version(w.url)
		if len(w.incoming) > 0 {
			w.incoming, w.collected = w.collected, w.incoming
			changed = append(changed, found{w, w.incomingSince})
		}
	}
	h.mu.Unlock()
	for _, c := range changed {
		if c.watch.merge(c.watch.collected, c.since, now) && c.watch.kind.Stage == resource.StageMake {
			st.restartWave()
		}
		c.watch.collected = emptied(c.watch.collected)
	}
}

// Report records in the hub up to which state the client has answered.
func (st *Stream) Report(now time.Time) {
	oldest := st.oldest(now)
	h := st.hub
	h.mu.Lock()
	for _, w := range st.watches {
		if len(w.incoming) > 0 && (oldest == 0 || w.incomingSince < oldest) {
			oldest = w.incomingSince
		}
	}
	moved := st.behind != oldest
	h.setBehind(st, oldest, now)
	h.mu.Unlock()
	if moved {
		h.options.Notify()
	}
}

// oldest is the oldest state that the client has not answered for; 0 means none. A client that has just connected may have more
// types to subscribe to, and until then it has nothing of them.
func (st *Stream) oldest(now time.Time) uint64 {
	if st.settling(now) || st.awaitsListeners(now) {
		return 1
	}
	oldest := uint64(0)
	consider := func(since uint64) {
		if since != 0 && (oldest == 0 || since < oldest) {
			oldest = since
		}
	}
	for _, w := range st.watches {
		consider(w.oldest())
		if st.keepsScopes(w) {
			continue
		}
		for name, since := range w.pendingRemoval {
			if st.mayRemove(w, name, now) {
				consider(since)
			}
		}
	}
	st.eachExpected(func(x expectation) { consider(x.since) })
	return oldest
}

// eachExpected calls do for every subscription that the stream waits for. Without routes it waits for none: no route will name what
// the client does not subscribe to.
func (st *Stream) eachExpected(do func(expectation)) {
	if !st.takesRoutes() {
		return
	}
	for _, names := range st.expects {
		for _, x := range names {
			do(x)
		}
	}
}

// push is the content of one or more responses.
type push struct {
	set     []*offer.Entry
	removed []string
	since   uint64 // the oldest state that it belongs to
}

// send sends a push and records what the client has now.
func (st *Stream) send(w *watch, p push, now time.Time) error {
	for _, e := range p.set {
		st.resendNeeds(w, e, p.since)
		w.sent(e.Name, e)
	}
	for _, name := range p.removed {
		w.sent(name, nil)
		st.endNack(w, name, now)
	}
	for _, part := range st.client.Protocol.responses(w, p) {
		st.nonces++
		w.nonce = nonceText(st.nonces)
		st.count(w, Traffic{Pushes: 1, Bytes: bodies(part.set)})
		sentAt, err := st.client.Send(Response{
			Type: w.url, Version: w.versionInfo(), Nonce: w.nonce, Resources: part.set, Removed: part.removed,
		})
		if err != nil {
			return err
		}
		now = sentAt
		r := response{nonce: w.nonce, since: p.since, deadline: st.deadline(now), entries: part.set, changed: part.set, sum: w.sum}
		if w.kind.Full && st.client.Protocol.whole() {
			r.changed = p.set
		}
		w.inflight = append(w.inflight, r)
	}
	if w.kind.Stage == resource.StageRoute {
		st.lastRoute = now
	}
	for _, e := range p.set {
		st.expect(w, e, p.since, now)
	}
	return nil
}

// nonceText is the nonce with a number.
func nonceText(number uint64) string { return strconv.FormatUint(number, 36) }

// nonceNumber is the number of one of our nonces; 0 for any other text.
func nonceNumber(nonce string) uint64 {
	n, _ := strconv.ParseUint(nonce, 36, 64)
	return n
}

// bodies is the size of the entries' bodies.
func bodies(entries []*offer.Entry) (bytes uint64) {
	for _, e := range entries {
		bytes += uint64(len(e.Body))
	}
	return bytes
}

// count adds to the traffic of the server, the stream and the type.
func (st *Stream) count(w *watch, t Traffic) {
	st.hub.traffic[w.rank].add(t)
	st.traffic.add(t)
	w.traffic.Add(t)
}

// deadline is until when the client has to answer what it is sent now.
func (st *Stream) deadline(now time.Time) time.Time {
	if st.silent {
		return now
	}
	return now.Add(st.hub.options.Wait)
}

// resendNeeds makes pending again what a changed resource needs. That also serves a resource that was removed and came back: the
// client may have dropped what it needs without saying so.
func (st *Stream) resendNeeds(w *watch, e *offer.Entry, since uint64) {
	if !w.kind.Resend {
		return
	}
	for _, need := range e.Needs {
		next := st.watch(need.URL)
		if next == nil {
			continue
		}
		_, waiting := next.pending.set[need.Name]
		if sent := next.items[need.Name].sent; !waiting && sent != nil && !sent.Claimed() {
			next.pending.put(need.Name, sent, since)
		}
	}
}

// expect notes what the client will subscribe to because of a resource that it was sent.
func (st *Stream) expect(w *watch, e *offer.Entry, since uint64, now time.Time) {
	if st.client.OneType || st.silent {
		return
	}
	for _, need := range e.Needs {
		// An activator looks up routes, but never subscribes to the clusters that they name.
		if st.never[need.URL] || st.client.Role == contract.RoleActivator && need.URL == resource.ClusterType {
			continue
		}
		if next := st.watch(need.URL); next != nil && next.subscribed(need.Name) {
			continue
		}
		names := st.expects[need.URL]
		if names == nil {
			names = map[string]expectation{}
			st.expects[need.URL] = names
		}
		if _, ok := names[need.Name]; !ok {
			names[need.Name] = expectation{w.kind.Stage, since, st.deadline(now)}
		}
	}
}

// expectAgain notes what a client that has returned will subscribe to because of a resource that it has: one name of each type to which it
// has not subscribed yet, since its first request of a type has all names. The client may have missed any state of that type.
func (st *Stream) expectAgain(w *watch, e *offer.Entry, now time.Time) {
	for _, need := range e.Needs {
		if st.watch(need.URL) == nil && len(st.expects[need.URL]) == 0 {
			st.expect(w, e, 1, now)
			return
		}
	}
}

// met ends an expectation.
func (st *Stream) met(url, name string) {
	delete(st.expects[url], name)
	if len(st.expects[url]) == 0 {
		delete(st.expects, url)
	}
}
