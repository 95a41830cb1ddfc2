package activator

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/intake"
	"sluice.dev/sluice/dataplane/peer"
	"sluice.dev/sluice/dataplane/replay"
)

// exchange is one request and its response.
type exchange struct {
	ticket
	activator *Activator
	revision  *revision
	w         http.ResponseWriter
	r         *http.Request

	ctx     context.Context // ends with the client, the server or the revision's timeout
	cancel  context.CancelCauseFunc
	limit   overtime
	upgrade string    // the protocol to change to; empty when none is asked for
	sent    time.Time // when the connection to the replica was there
	status  int       // that the client was given; 0 while there is none
	dirty   bool      // the client has not been sent all that was written

	intake   *intake.Body // of the client; nil for a request without a body
	interim  interim
	body     replay.Body
	sending  *replay.Reader // the body as the present attempt sends it; nil for a request without one
	trailers []string       // the names of those that the client announced, sorted
}

// serve lets one request of a revision through.
func (a *Activator) serve(w http.ResponseWriter, r *http.Request, body *intake.Body, name revisionName) {
	x := &exchange{activator: a, w: w, r: r, intake: body, upgrade: upgradeOf(r.Header)}
	x.arrived = time.Now()
	x.stream = x.upgrade != "" || strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	a.arrive(x.arrived)
	defer a.depart()
	revision, err := a.revisions.enter(name, &x.ticket)
	if revision == nil {
		x.refuse(err)
		return
	}
	x.revision = revision
	defer func() { revision.leave(&x.ticket, x.status != 0 && x.status < http.StatusInternalServerError) }()
	if err != nil {
		x.refuse(err)
		return
	}
	x.ctx, x.cancel = context.WithCancelCause(r.Context())
	defer x.cancel(nil)
	if err := x.run(); err != nil {
		x.fail(err)
	}
}

// run waits for a replica and lets it answer, again and again as long as it is certain that none has received the request.
func (x *exchange) run() error {
	if err := x.await(); err != nil {
		return err
	}
	x.startTimeout()
	defer x.endTimeout()
	x.takeBody()
	defer x.releaseBody()
	for {
		err := x.send()
		var connect *connectError
		if !errors.As(err, &connect) || x.ctx.Err() != nil {
			return err
		}
		x.activator.stats.retried.Add(1)
		x.activator.logger.Debug("a replica refused a connection", "revision", x.revision.name, "replica", x.replica.address, "error", err)
		x.revision.refused(&x.ticket)
		if err := x.revision.wait(x.ctx, &x.ticket); err != nil {
			return err
		}
	}
}

// await waits for the first replica. The body has not been looked at yet.
func (x *exchange) await() error {
	if x.turn == nil {
		return nil // it has a slot already
	}
	defer peer.Watch(x.r, x.cancel)()
	return x.revision.wait(x.ctx, &x.ticket)
}

// send sends the request to the replica whose slot it holds, in the protocol in which it came.
func (x *exchange) send() error {
	x.intake.Unhurried(!x.direct) // a queue-proxy always says whether a body is wanted
	if x.r.ProtoMajor == 2 {
		return x.sendHTTP2()
	}
	return x.sendHTTP1()
}

// connected notes that there is a connection to the replica.
func (x *exchange) connected() {
	if x.trial {
		x.revision.connected(&x.ticket)
	}
	if x.cold {
		x.sent = time.Now()
	}
}

// begin notes that the response begins: from now on the queue-proxy's timers come first, and the request is not sent again.
func (x *exchange) begin() {
	if x.sending != nil {
		x.body.Settle()
	}
	x.extendTimeout()
	if x.distrusted {
		x.revision.answered(&x.ticket)
	}
	x.activator.stats.dispatched.Add(1)
	if !x.cold && !x.timed() {
		return
	}
	parts := x.parts()
	if x.cold {
		x.activator.stats.coldStart(parts)
	}
	if x.timed() {
		x.w.Header().Add("Server-Timing", parts.serverTiming(x.cold))
	}
}

func (x *exchange) timed() bool { return x.r.Header[contract.TimingHeader] != nil }

// fail answers a request that no replica did. The cause of the context's end says more than err.
func (x *exchange) fail(err error) {
	cause := context.Cause(x.ctx)
	var known *refusal
	if !errors.As(cause, &known) {
		switch failed, severed := x.intake.Fate(); {
		case failed:
			known = errBadBody
		case x.r.Context().Err() != nil && !severed || errors.Is(cause, peer.ErrGone):
			// Nobody is there to be answered; ending the stream hard tells a client that was wrong about that.
			panic(http.ErrAbortHandler)
		}
	}
	if x.status != 0 {
		message := "a replica did not finish its response"
		if errors.Is(cause, errTimeout) {
			message = "a response was not finished within the timeout of its revision"
		}
		x.warn(message, err)
		panic(http.ErrAbortHandler) // the client must not take what it has for all of the response
	}
	if known == nil && !errors.As(err, &known) {
		x.warn("a replica did not answer", err)
		known = errUnreachable
	}
	x.refuse(known)
}

// warn tells of a request that is lost.
func (x *exchange) warn(message string, err error) {
	x.activator.lost.Warn(x.activator.logger, message, x.r, err, "revision", x.revision.name, "replica", x.replica.address)
}

func (x *exchange) refuse(err error) {
	known := errUnreachable
	errors.As(err, &known)
	x.answer(true)
	x.status = known.status
	x.activator.stats.refused(known.reason)
	known.answer(x.w, x.r)
}

// answer comes before the header of the final answer, which may be one of our own.
func (x *exchange) answer(own bool) {
	if x.activator.draining.Load() && x.r.ProtoMajor == 1 && x.r.Header["Upgrade"] == nil {
		// Tells a client to open its next connection elsewhere. On HTTP/2 net/http would send GOAWAY, which loses the requests that
		// are on their way to us: that waits until the drain is over.
		x.w.Header().Set("Connection", "close")
	}
	x.intake.Answer(own)
}

// upgradeOf is the protocol that a request wants to change to. An offer of HTTP/2 is not taken up, which a server may do.
func upgradeOf(h http.Header) string {
	if len(h["Upgrade"]) == 0 || strings.EqualFold(h["Upgrade"][0], "h2c") {
		return ""
	}
	if hasToken(h["Connection"], "upgrade") {
		return h["Upgrade"][0]
	}
	return ""
}

// hasToken looks for a token in a header that is a list of them.
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
