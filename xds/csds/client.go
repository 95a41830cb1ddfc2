package csds

import (
	"context"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/session"
)

// Gate decides which questions there may be.
type Gate interface {
	// Enter takes a place for a question or stream of questions until leave is called. Its error is the answer.
	Enter() (leave func(), err error)
	// Permit is whether a node may ask. Its error is the answer.
	Permit(ctx context.Context, node *corev3.Node) error
	// Closing ends all streams with an error.
	Closing() (<-chan struct{}, error)
}

// Source is what the answers are made of.
type Source interface {
	// Complete is nil once something is served; else its error is the answer.
	Complete() error
	// Clients is a Client for each stream, in no order.
	Clients() []Client
	// Offered is everything that a role is offered, sorted, and the state that it belongs to.
	Offered(role uint8) (offers []offer.Offer, seq uint64)
}

// Client is one stream of a client. All methods may be called by any goroutine.
type Client interface {
	Identity() Identity
	// Facts is what is known of the stream without asking its owner.
	Facts() Facts
	// Ask puts a question to the owner of the stream. It reports false when the owner has not answered the questions before.
	Ask(*Question) bool
	// Ended is closed when the owner answers no more questions.
	Ended() <-chan struct{}
}

// Identity is who a client is.
type Identity struct {
	Stream uint64 // tells the streams of a server apart
	Role   uint8
	Node   string // node id
}

// Facts is what is known of a stream without asking its owner.
type Facts struct {
	Node      *corev3.Node // what the client said of itself
	Protocol  string       // delta or sotw
	Service   string       // ads, or the only type
	Connected time.Time
	Heard     time.Time // when the client said something last
	Sending   time.Time // since when the owner is in sending a response; the zero time: it is not
	Traffic   session.Traffic
	Lag       session.Lag
}

// maxInspections is how many inspections there are at once.
const maxInspections = 4

// MaxQuestions is how many questions a client may have at once: each inspection has at most one.
const MaxQuestions = maxInspections

// Question asks the owner of a stream for a view.
type Question struct {
	counts    bool // without the resources
	to        chan<- answer
	abandoned atomic.Bool
}

type answer struct {
	client Client
	view   *session.View
}

// Answer is called by the owner of the stream. view makes the view, with or without the resources; Answer does not call it if nobody
// waits for it any more. It never blocks: the channel has room for all that were asked.
func (q *Question) Answer(c Client, view func(resources bool) *session.View) {
	if !q.abandoned.Load() {
		q.to <- answer{c, view(!q.counts)}
	}
}
