package activator

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
	"sluice.dev/sluice/dataplane/activator/upstream"
	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/peer"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
)

// exchange is one request and its response.
type exchange struct {
	dispatch.Ticket
	activator *Activator
	revision  *revision
	w         http.ResponseWriter
	r         *http.Request

	ctx     context.Context // ends with the client, the server or the revision's timeout
	cancel  context.CancelCauseFunc
	limit   timeLimit
	problem *refusal  // what is wrong with it if it is a task
	upgrade string    // the protocol to switch to; empty for none
	sent    time.Time // when the exchange connected to the replica
	status  int       // of the response; 0 before it
	dirty   bool      // something was written and not flushed

	intake   *intake.Body // nil for a request without a body
	interim  interim
	body     replay.Body
	sending  *replay.Reader // the body of the current attempt; nil for a request without one
	trailers []string       // the names that the client announced, sorted

	runs    bool          // the runner of tasks in this process sends it
	span    *tracing.Span // nil for none
	tries   int           // replicas that were chosen
	reason  string        // why the activator has answered itself
	aborted bool          // the client did not get a whole response
}

// serve handles one request of a revision.
func (a *Activator) serve(w http.ResponseWriter, r *http.Request, body *intake.Body, name revisionName) {
	x := &exchange{activator: a, w: w, r: r, intake: body, upgrade: upgradeOf(r.Header)}
	x.Arrived, x.runs = time.Now(), a.fromRunner(r)
	x.Stream = x.upgrade != "" || strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	x.Handed = handed(r)
	x.readTerms()
	a.arrive(x.Arrived)
	defer a.depart()
	if x.span = a.tracer.Begin(r); x.span != nil {
		x.span.Revision(model.Key{Namespace: name.namespace, Name: name.name})
		defer x.endSpan()
	}
	revision, err := a.revisions.enter(name, &x.Ticket)
	if revision == nil {
		x.refuse(refusalOf(err))
		return
	}
	x.revision = revision
	defer func() { revision.Leave(&x.Ticket, x.status != 0 && x.status < http.StatusInternalServerError) }()
	if x.problem != nil && revision.Tasks() {
		err = x.problem
	}
	if err != nil {
		x.refuse(refusalOf(err))
		return
	}
	x.ctx, x.cancel = context.WithCancelCause(r.Context())
	defer x.cancel(nil)
	if err := x.run(); err != nil {
		x.fail(err)
	}
}

// run waits for a replica and sends it the request. It retries as long as it is certain that no replica has received the request.
func (x *exchange) run() error {
	if err := x.await(); err != nil {
		return err
	}
	if x.problem != nil && x.Task() {
		return x.problem
	}
	x.startTimeout()
	defer x.endTimeout()
	defer x.untilDeadline()()
	x.takeBody()
	defer x.releaseBody()
	for {
		x.chosen()
		err := x.send()
		var connect *upstream.ConnectError
		if !errors.As(err, &connect) || x.ctx.Err() != nil {
			return err
		}
		x.activator.metrics.retried.Inc()
		x.activator.logger.Debug("a replica refused a connection",
			"revision", x.revision.name, "replica", x.Replica().Address, "error", err)
		x.revision.Refused(&x.Ticket)
		if err := x.waitForReplica(time.Now()); err != nil {
			return err
		}
	}
}

// await waits for the first replica, before the body is read.
func (x *exchange) await() error {
	if !x.Waited() {
		return nil // it has a slot already
	}
	defer peer.Watch(x.r, x.cancel)()
	return x.waitForReplica(x.Arrived)
}

// send sends the request to the replica whose slot it holds, in the protocol in which it came.
func (x *exchange) send() error {
	x.intake.RequireWant(!x.Direct()) // a queue-proxy always says whether it wants the body
	if x.r.ProtoMajor == 2 {
		return x.sendHTTP2()
	}
	return x.sendHTTP1()
}

// connected records that there is a connection to the replica.
func (x *exchange) connected() {
	x.revision.Connected(&x.Ticket)
	if x.Cold() {
		x.sent = time.Now()
	}
}

// begin records that the response begins: from now on the queue-proxy's timeouts apply first, and the request is not retried.
func (x *exchange) begin() {
	if x.sending != nil {
		x.body.Settle()
	}
	x.extendTimeout()
	x.revision.Answered(&x.Ticket)
	if x.ToOwner() {
		x.activator.metrics.handed.Inc()
		return // the owner counts it
	}
	x.activator.metrics.dispatched.Inc()
	if x.runs {
		x.w.Header().Set(contract.ReplicaHeader, x.Replica().Address)
	}
	if !x.Cold() && !x.timed() {
		return
	}
	parts := x.parts()
	if x.Cold() {
		x.activator.metrics.observe(parts)
	}
	if x.timed() {
		x.w.Header().Add("Server-Timing", parts.serverTiming(x.Cold()))
	}
}

func (x *exchange) timed() bool { return x.r.Header[contract.TimingHeader] != nil }

// fail answers a request that no replica has answered. The cause of the context's end is more precise than err.
func (x *exchange) fail(err error) {
	cause := context.Cause(x.ctx)
	var known *refusal
	if !errors.As(cause, &known) {
		switch failed, interrupted := x.intake.Result(); {
		case failed:
			known = errBadBody
		case x.r.Context().Err() != nil && !interrupted || errors.Is(cause, peer.ErrGone):
			// The client has gone. If it has not, the reset of the stream is its answer.
			x.aborted = true
			panic(http.ErrAbortHandler)
		}
	}
	if x.status != 0 {
		message := "a replica did not finish its response"
		if errors.Is(cause, errTimeout) {
			message = "a response was not finished within the timeout of its revision"
		}
		x.warn(message, err)
		x.aborted = true
		panic(http.ErrAbortHandler) // the client must not take what it got for the whole response
	}
	if known == nil {
		known = refusalOf(err)
	}
	if known == nil {
		x.warn("a replica did not answer", err)
		known = errUnreachable
	}
	x.refuse(known)
}

// warn logs a request that is lost.
func (x *exchange) warn(message string, err error) {
	x.activator.lost.Warn(x.activator.logger, message, x.r, err, "revision", x.revision.name, "replica", x.Replica().Address)
}

func (x *exchange) refuse(known *refusal) {
	x.answer(true)
	x.status, x.reason = known.status, known.reason
	x.activator.metrics.refused.WithLabelValues(known.reason).Inc()
	known.answer(x.w, x.r)
}

// answer must be called before the header of the final response is written. own says that it is the activator's, not a replica's.
func (x *exchange) answer(own bool) {
	if x.activator.draining.Load() && x.r.ProtoMajor == 1 && x.r.Header["Upgrade"] == nil {
		// The client opens its next connection elsewhere. On HTTP/2 net/http would send GOAWAY, which loses the requests that are on
		// their way; that waits until the drain is over.
		x.w.Header().Set("Connection", "close")
	}
	x.intake.Answer(own)
}

// upgradeOf is the protocol that a request asks to switch to. An offer of HTTP/2 is ignored, as a server may.
func upgradeOf(h http.Header) string {
	if len(h["Upgrade"]) == 0 || strings.EqualFold(h["Upgrade"][0], "h2c") {
		return ""
	}
	if hasToken(h["Connection"], "upgrade") {
		return h["Upgrade"][0]
	}
	return ""
}

// hasToken reports whether a header that is a list of tokens has one.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
