package xds

import (
	"cmp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
)

// maxKeptNode is how many bytes of what a client says of itself are kept for whom it interests.
const maxKeptNode = 64 << 10

// seen is what of a stream others may look at.
type seen struct {
	id        uint64 // tells the streams of a server apart
	node      *corev3.Node
	protocol  string         // delta or sotw
	service   string         // ads, or the only type
	questions chan *question // to the writer
	ended     chan struct{}  // closed when the writer answers no more

	sending                    atomic.Int64 // since when the writer is in sending, in Unix nanoseconds; 0: it is not
	pushes, bytes, acks, nacks atomic.Uint64
}

func newSeen(s *Server, w wire, node *corev3.Node) seen {
	service := "ads"
	if one, ok := w.(oneType); ok {
		service, w = TypeName(one.url), one.wire
	}
	protocol := "delta"
	if _, ok := w.(sotwWire); ok {
		protocol = "sotw"
	}
	return seen{
		id: s.streams.Add(1), node: keptNode(node), protocol: protocol, service: service,
		// Each inspection has at most one question under way, so that none has to wait to be put.
		questions: make(chan *question, maxInspections), ended: make(chan struct{}),
	}
}

// keptNode is a node without what only the client itself needs: Envoy's list of all its extensions has tens of kilobytes.
func keptNode(n *corev3.Node) *corev3.Node {
	kept := &corev3.Node{
		Id: n.GetId(), Cluster: n.GetCluster(), Locality: n.GetLocality(), Metadata: n.GetMetadata(),
		UserAgentName: n.GetUserAgentName(), UserAgentVersionType: n.GetUserAgentVersionType(), ClientFeatures: n.GetClientFeatures(),
	}
	if proto.Size(kept) > maxKeptNode {
		return &corev3.Node{Id: n.GetId(), Cluster: n.GetCluster()}
	}
	return kept
}

// unheard is a resource that a client was sent and said nothing of.
type unheard struct {
	entry *entry
	nonce uint64 // of the last response with it
}

// unanswered keeps what is in responses that are no longer waited for.
func (w *watch) unanswered(responses []response) {
	if w.late == nil {
		w.late = map[string]unheard{}
	}
	for i := range responses {
		for _, e := range responses[i].news {
			if same(w.items[e.Name].sent, e) { // else it was sent something else since, or let go of the name
				w.late[e.Name] = unheard{e, nonceNumber(responses[i].nonce)}
			}
		}
	}
}

// answeredLate notes what the client has accepted, as it answers the response that has it or, since clients answer in order,
// a later one. What it refuses only now is left as not accepted.
func (w *watch) answeredLate(r *request) {
	if w.late == nil {
		return
	}
	number := nonceNumber(r.nonce)
	for name, u := range w.late {
		if u.nonce > number {
			continue
		}
		delete(w.late, name)
		if same(w.items[name].sent, u.entry) && (u.nonce < number || r.refusal == nil) {
			w.take(name)
		}
	}
	if len(w.late) == 0 {
		w.late = nil
	}
}

// nonceNumber is the place of a nonce of ours; 0 if it is not one.
func nonceNumber(nonce string) uint64 {
	n, _ := strconv.ParseUint(nonce, 36, 64)
	return n
}

// condition is how it stands with a resource at a client.
type condition uint8

const (
	isSynced  condition = iota // it has what there is, or knows that there is nothing
	isDue                      // it was not told yet
	isSent                     // it was told and has not answered
	isRefused                  // it refused what it was told
	conditions
)

// holding is one resource at one client.
type holding struct {
	name      string
	has       *entry // what it has accepted; nil: nothing
	condition condition
	refused   refused
	text      string // why
}

// requested is whether the client has nothing and waits for an answer.
func (h *holding) requested() bool { return h.has == nil && h.condition != isSynced }

// view is a client's state at one moment.
type view struct {
	lag   lag
	mute  bool // counts as silent
	types []typeView
}

type typeView struct {
	url      string
	kind     int
	wildcard bool
	traffic  traffic
	counts   [conditions]int // by condition
	absent   int             // those of isSynced that the client has asked for and that do not exist
	holdings []holding       // by name; nil if only the counts were asked for
}

// lag is how far behind a client is.
type lag struct {
	newest uint64    // state
	behind uint64    // oldest state that the client has not answered for; 0: none
	since  time.Time // when it began to be behind
}

// question asks a stream's writer for a view.
type question struct {
	counts    bool // without the resources
	to        chan<- answer
	abandoned atomic.Bool
}

type answer struct {
	stream *stream
	view   *view
}

// answer is the writer's. It never blocks: the channel has room for all that were asked.
func (st *stream) answer(q *question) {
	if q == nil || q.abandoned.Load() {
		return
	}
	v := &view{lag: st.lagging(), mute: st.silent}
	for _, w := range st.watches {
		v.types = append(v.types, w.look(!q.counts))
	}
	q.to <- answer{st, v}
}

// lagging may be called by any goroutine.
func (st *stream) lagging() lag {
	store := st.server.store
	store.mu.Lock()
	defer store.mu.Unlock()
	return lag{newest: store.seq, behind: st.behind, since: st.behindSince}
}

// look is a type as the client has it.
func (w *watch) look(resources bool) typeView {
	v := typeView{url: w.url, kind: w.rank, wildcard: w.wildcard, traffic: w.traffic}
	if resources {
		v.holdings = make([]holding, 0, len(w.items))
	}
	add := func(name string, it item) {
		h := w.holding(name, it)
		v.counts[h.condition]++
		if h.condition == isSynced && h.has == nil {
			v.absent++
		}
		if resources {
			v.holdings = append(v.holdings, h)
		}
	}
	for name, it := range w.items {
		add(name, it)
	}
	for name := range w.unlisted() {
		add(name, item{})
	}
	slices.SortFunc(v.holdings, func(a, b holding) int { return cmp.Compare(a.name, b.name) })
	w.explain(v.holdings)
	return v
}

// unlisted is the names that a client which wants everything was not sent: they are due, or it has refused them.
func (w *watch) unlisted() map[string]struct{} {
	names := map[string]struct{}{}
	add := func(name string) {
		if _, listed := w.items[name]; !listed {
			names[name] = struct{}{}
		}
	}
	for name, e := range w.pending.set {
		if e != nil {
			add(name)
		}
	}
	for name, e := range w.batch.set {
		if e != nil {
			add(name)
		}
	}
	for name := range w.refused {
		add(name)
	}
	return names
}

func (w *watch) holding(name string, it item) holding {
	h := holding{name: name, has: w.accepted(name)}
	r, refuses := w.refused[name]
	switch {
	case refuses && (it.sent == nil || it.taken || same(it.sent, r.content)):
		h.condition, h.refused = isRefused, r
	case w.owing(name, it):
		h.condition = isDue
	case it.sent != nil && !it.taken:
		h.condition = isSent
	}
	return h
}

// explain adds why resources are refused.
func (w *watch) explain(holdings []holding) {
	if len(w.refused) == 0 {
		return
	}
	store := w.stream.server.store
	store.mu.Lock()
	defer store.mu.Unlock()
	for i := range holdings {
		h := &holdings[i]
		if h.text = h.refused.text; h.text == "" && h.condition == isRefused {
			h.text = h.refused.record.text
		}
	}
}

// owing is whether the client is to be told something other than what it was told last.
func (w *watch) owing(name string, it item) bool {
	if _, doomed := w.doomed[name]; doomed {
		return true
	}
	next, waits := w.pending.set[name]
	if !waits {
		next, waits = w.batch.set[name]
	}
	return waits && (it.sent == nil || next != nil && next.Version != it.sent.Version)
}
