package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// RoundTrip sends a request to an endpoint, and retries at others where the retry policy allows it.
func (p *Proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req.Context())
	transport := p.upstreams.transport(x.config, x.view.Request, x.upgrade != "")
	if req.Body != nil {
		x.keepBody(req, transport)
	}
	if transport == p.upstreams.http1 {
		req = x.traced(req)
	}
	var tried []*Host
	for {
		h := x.pick(tried)
		if h == nil {
			x.cluster.Stats.CxNoneHealthy.Add(1)
			return nil, errNoHealthyUpstream
		}
		res, err := x.attempt(transport, req, h, len(tried) > 0)
		failure := failureOf(&x.route.Forward.Retry, res, err)
		if failure == nil || !x.mayRetry(failure, len(tried)) {
			x.request.Settle()
			return res, err
		}
		if req = x.retryOf(req, transport); req == nil {
			return res, err
		}
		x.discard(res)
		x.cluster.Stats.RqRetry.Add(1)
		x.traceRetry(h, len(tried)+1)
		h.load.withdraw(x.began, x.stream)
		x.counted = nil
		x.endpoints = x.cluster.Endpoints.Load() // which may know better by now
		tried = append(tried, h)
	}
}

// discard closes a response that is followed by a retry; nil is none.
func (x *exchange) discard(res *http.Response) {
	if res == nil {
		return
	}
	body := res.Body
	if x.response.ReadCloser != nil {
		body = x.response.ReadCloser // reading res.Body would flush to the client
	}
	go func() { // it may wait for the client, whose body the attempt still reads
		const little = 4 << 10
		_, _ = io.CopyN(io.Discard, body, little) // read to its end, the connection can be used again
		_ = body.Close()
	}()
	x.response = responseBody{}
	x.host.Active.Add(-1)
	x.host.Errors.Add(1)
	x.host = nil
}

func (x *exchange) pick(tried []*Host) *Host {
	if len(tried) > 0 && len(tried) == x.route.Forward.Retry.Max {
		return x.endpoints.pickLast(x.config.Policy, tried, x.ejected)
	}
	return x.endpoints.Pick(x.config.Policy, tried, x.ejected)
}

func (x *exchange) ejected(h *Host) bool { return h.ejected(x.proxy.Since) }

// retryOf is a copy of a request for a retry, since the transport may still use the one before; nil when the beginning of its body is no
// longer kept.
func (x *exchange) retryOf(req *http.Request, t *http.Transport) *http.Request {
	again := *req.URL
	req = req.WithContext(req.Context())
	req.URL = &again
	if x.source.x == nil {
		return req
	}
	body, ok := x.request.Rewind()
	if !ok {
		return nil
	}
	x.setBody(req, t, body)
	return req
}

// attempt sends the request to one endpoint.
func (x *exchange) attempt(t *http.Transport, req *http.Request, h *Host, again bool) (*http.Response, error) {
	x.host = h
	req.URL.Host = h.Address
	// On a connection that is used again, the transport would send an expected body although the endpoint has refused it.
	once := x.config.SingleUse && x.upgrade == "" || len(x.view.Header["Expect"]) > 0
	req.Close = once && t == x.proxy.upstreams.http1
	h.Total.Add(1)
	h.Active.Add(1)
	if x.began = x.start.Sub(x.proxy.made); again {
		x.began = x.proxy.Since()
	}
	x.counted = h.load
	h.load.begin(x.began, x.stream)
	x.clock.attempted()
	res, err := x.send(t, req)
	if err != nil {
		h.Active.Add(-1)
		h.Errors.Add(1)
		x.host = nil
		if x.Err() == nil || errors.Is(context.Cause(x), errResponseTimeout) {
			h.failed(x.config.Outliers, x.proxy.Since())
		}
		return nil, err
	}
	h.answered()
	x.clock.answered()
	x.watch(res)
	return res, nil
}

// staleTries is how many stale connections in a row lead to a retry at another host.
const staleTries = 4

// send sends the request. It sends it again when the endpoint had closed the connection while that was idle: then nobody has seen
// anything of the request.
func (x *exchange) send(t *http.Transport, req *http.Request) (*http.Response, error) {
	for tries := 0; ; tries++ {
		res, err := t.RoundTrip(req)
		x.release()
		if err == nil || tries == staleTries || !stale(err) || x.Err() != nil {
			return res, err
		}
		again := x.retryOf(req, t)
		if again == nil {
			return nil, err
		}
		req = again
	}
}

// watch wraps a response's body, so that its traffic resets the idle limit of the clock.
func (x *exchange) watch(res *http.Response) {
	x.response.x = x
	if both, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &upgradedBody{both, x}
		x.clock.upgraded()
		return
	}
	x.response.ReadCloser = res.Body
	if res.ContentLength > 0 {
		// The ReverseProxy flushes a body of unknown length after each write.
		x.response.flusher, _ = x.writer.(http.Flusher)
	}
	res.Body = &x.response
}

func (x *exchange) mayRetry(err error, before int) bool {
	policy := &x.route.Forward.Retry
	if x.Err() != nil || !retriable(policy, err) {
		return false
	}
	x.exhausted = before >= policy.Max
	return !x.exhausted
}
