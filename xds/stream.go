package xds

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/hashicorp/go-hclog"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxTypes bounds how many types one stream may ask for; Envoy knows about a dozen.
const maxTypes = 32

// request is a discovery request of either protocol.
type request struct {
	node    *corev3.Node
	url     string
	nonce   string
	refusal *statuspb.Status

	subscribe, unsubscribe []string          // delta
	initial                map[string]string // delta: versions by name that the client has

	names   []string // state of the world
	version string   // state of the world: last accepted
}

// push is what one send tells a client.
type push struct {
	set   []*entry
	gone  []string
	since uint64
}

// wire is a stream's protocol: delta or state of the world.
type wire interface {
	receive() (*request, error)
	// subscribe takes over what a request asks for; first is the first one of its type. Its error ends the stream.
	subscribe(w *watch, r *request, first bool) error
	// current is whether the request answers or follows the last response, rather than one that is out of date.
	current(w *watch, r *request, first bool) bool
	// whole is whether a response of a full kind holds everything.
	whole() bool
	// messages are the responses that carry the push, each small enough for any client where that can be.
	messages(w *watch, p push) []push
	transmit(w *watch, p push, nonce string) error
}

// stream is one client's stream. Its writer goroutine (run) owns it.
type stream struct {
	server *Server
	logger hclog.Logger
	wire   wire
	role   uint8
	client string
	born   time.Time
	seen   seen // what may be looked at from outside

	wake  chan struct{}
	heard *atomic.Int64 // when the client was heard last, in Unix nanoseconds

	behind      uint64    // guarded by the store: oldest state not answered for; 0 means none
	behindSince time.Time // guarded by the store

	accepts   bool     // the client has accepted something; written with the store held
	watches   []*watch // in the order of kinds
	seq       uint64   // state that was looked at last
	nonces    uint64
	wave      *wave
	expects   map[string]map[string]expectation // by type and name
	never     map[string]bool                   // types that the client never asked for when it was expected to
	alone     bool                              // the stream is of one type, and no other will be asked for
	namesOnly bool                              // the client is not trusted with all of a type
	silent    bool                              // did not answer in time; is not waited for until it does
	lastRoute time.Time                         // when listeners or routes were sent last
}

// expectation is a request that a client will make because of what it was sent.
type expectation struct {
	stage    stage // of the resource that makes it ask
	since    uint64
	deadline time.Time
}

func newStream(s *Server, w wire, node *corev3.Node, heard *atomic.Int64) *stream {
	role := roleOf(node.GetCluster())
	return &stream{
		server:  s,
		logger:  s.options.Logger.With("client", node.GetId(), "role", RoleName(role)),
		wire:    w,
		role:    role,
		client:  node.GetId(),
		born:    time.Now(),
		seen:    newSeen(s, w, node),
		heard:   heard,
		wake:    make(chan struct{}, 1),
		expects: map[string]map[string]expectation{},
		never:   map[string]bool{},
		alone:   isAlone(w),
	}
}

// signal wakes the writer; it never blocks.
func (st *stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// run is the writer: it looks at what the client says and at what changed, and sends what may be sent, until ctx ends.
func (st *stream) run(ctx context.Context, first *request, inbox <-chan *request) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	if err := st.read(first, inbox); err != nil {
		return err
	}
	for {
		var q *question
		select {
		case r := <-inbox:
			if err := st.read(r, inbox); err != nil {
				return err
			}
		case q = <-st.seen.questions:
		case <-st.wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		st.take()
		if err := st.advance(time.Now()); err != nil {
			return err
		}
		st.report()
		st.answer(q)
		timer.Reset(st.pause(time.Now()))
	}
}

// read handles a request and all that wait behind it, so that what they ask for is answered in the order of kinds.
func (st *stream) read(r *request, inbox <-chan *request) error {
	for {
		if err := st.handle(r); err != nil {
			return err
		}
		select {
		case r = <-inbox:
		default:
			return nil
		}
	}
}

func (st *stream) handle(r *request) error {
	w := st.watch(r.url)
	first := w == nil
	if first {
		if len(st.watches) >= maxTypes {
			return status.Errorf(codes.ResourceExhausted, "a stream may ask for %d types", maxTypes)
		}
		w = newWatch(st, r.url)
		delete(st.never, r.url)
		st.watches = append(st.watches, w)
		slices.SortStableFunc(st.watches, func(a, b *watch) int { return a.rank - b.rank })
	}
	st.answered(w, r) // the nonce says which response is meant, whatever was sent since
	if !st.wire.current(w, r, first) {
		return nil
	}
	return st.wire.subscribe(w, r, first)
}

func (st *stream) watch(url string) *watch {
	for _, w := range st.watches {
		if w.url == url {
			return w
		}
	}
	return nil
}

// take moves what changed from the store to the watches; all of it belongs to one state.
func (st *stream) take() {
	type found struct {
		watch *watch
		since uint64
	}
	var changed []found
	store := st.server.store
	store.mu.Lock()
	st.seq = store.seq
	for _, w := range st.watches {
		w.given = store.given[w.url]
		if len(w.dirty) > 0 {
			w.dirty, w.spare = w.spare, w.dirty
			changed = append(changed, found{w, w.dirtySince})
		}
	}
	store.mu.Unlock()
	for _, c := range changed {
		if c.watch.merge(c.watch.spare, c.since) && c.watch.kind.stage == stageMake {
			st.retake()
		}
		c.watch.spare = emptied(c.watch.spare)
	}
}

// report tells the store how far the client is.
func (st *stream) report() {
	oldest := st.oldest(time.Now())
	store := st.server.store
	store.mu.Lock()
	for _, w := range st.watches {
		if len(w.dirty) > 0 && (oldest == 0 || w.dirtySince < oldest) {
			oldest = w.dirtySince
		}
	}
	moved := st.behind != oldest
	store.lag(st, oldest, time.Now())
	store.mu.Unlock()
	if moved {
		st.server.progress.signal()
	}
}

// oldest is the oldest state that the client has not answered for; 0 means none. One that has just connected may have types to
// ask for, and until then has nothing of them.
func (st *stream) oldest(now time.Time) uint64 {
	if st.young(now) {
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
		if st.leavesScopes(w) {
			continue
		}
		for name, since := range w.doomed {
			if st.due(w, name, now) {
				consider(since)
			}
		}
	}
	if !st.routed() {
		return oldest
	}
	for _, names := range st.expects {
		for _, x := range names {
			consider(x.since)
		}
	}
	return oldest
}

// send tells the client and records what it was told.
func (st *stream) send(w *watch, p push) error {
	for _, e := range p.set {
		st.follow(w, e, p.since)
		w.sent(e.Name, e)
	}
	for _, name := range p.gone {
		w.sent(name, nil)
		st.absolve(w, name)
	}
	for _, part := range st.wire.messages(w, p) {
		st.nonces++
		w.nonce = strconv.FormatUint(st.nonces, 36)
		st.seen.sending.Store(time.Now().UnixNano())
		err := st.wire.transmit(w, part, w.nonce)
		st.seen.sending.Store(0)
		if err != nil {
			return err
		}
		st.pushed(w, part)
		r := response{nonce: w.nonce, since: p.since, deadline: st.deadline(), entries: part.set, news: part.set, sum: w.version}
		if w.kind.full && st.wire.whole() {
			r.news = p.set
		}
		w.inflight = append(w.inflight, r)
	}
	if w.kind.stage == stageRoute {
		st.lastRoute = time.Now()
	}
	for _, e := range p.set {
		st.expect(w, e, p.since)
	}
	return nil
}

// deadline is until when the client is waited for.
func (st *stream) deadline() time.Time {
	if st.silent {
		return time.Now()
	}
	return time.Now().Add(st.server.options.Wait)
}

// follow makes due what has to be sent again after a changed resource, or one that had been taken away: a client may have had no
// occasion to say that it had let go of what it needs.
func (st *stream) follow(w *watch, e *entry, since uint64) {
	if !w.kind.resend {
		return
	}
	for _, need := range e.needs {
		next := st.watch(need.url)
		if next == nil {
			continue
		}
		_, waiting := next.pending.set[need.name]
		if sent := next.items[need.name].sent; !waiting && sent != nil && !sent.claimed() {
			next.pending.put(need.name, sent, since)
		}
	}
}

// expect notes what the client will ask for because of a resource that it was sent.
func (st *stream) expect(w *watch, e *entry, since uint64) {
	if st.alone || st.silent {
		return
	}
	for _, need := range e.needs {
		// An activator looks up routes and never takes clusters, which they name.
		if st.never[need.url] || st.role == RoleActivator && need.url == ClusterType {
			continue
		}
		if next := st.watch(need.url); next != nil && next.asksFor(need.name) {
			continue
		}
		names := st.expects[need.url]
		if names == nil {
			names = map[string]expectation{}
			st.expects[need.url] = names
		}
		if _, ok := names[need.name]; !ok {
			names[need.name] = expectation{w.kind.stage, since, st.deadline()}
		}
	}
}

// met ends an expectation.
func (st *stream) met(url, name string) {
	delete(st.expects[url], name)
	if len(st.expects[url]) == 0 {
		delete(st.expects, url)
	}
}
