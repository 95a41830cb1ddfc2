package envoy

import (
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// An application closes connections that were idle for 50 ms, and requests come about as often.
func TestApplicationThatClosesEarly(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		application := start(t, "impatient", "application", "50ms")
		c := newControl(t)
		c.serve(worldOf(model.Backend{Via: model.ViaReplicas, Direct: true, Endpoints: []model.Endpoint{application.Endpoint}}))
		begin(c)
		pausing(t, c, 50*time.Millisecond, 60).want(t, "application")
	})
}

// learnt is for how long the applications behind a queue-proxy keep idle connections. It gives them up in half of that, which is
// long enough for a busy machine to have sent a request after it was found that its connection is fresh.
const learnt = 400 * time.Millisecond

// pausing has 16 users send n POSTs each, with pauses of about so long.
func pausing(t *testing.T, c *control, pause time.Duration, n int) *tally {
	results := &tally{}
	var all sync.WaitGroup
	for range 16 {
		u := c.user(t)
		all.Go(func() {
			for range n {
				results.add(u.send(http.MethodPost, "/"))
				time.Sleep(pause - time.Millisecond + rand.N(3*time.Millisecond))
			}
		})
	}
	all.Wait()
	return results
}

// The same by way of an activator, without a queue-proxy and with one.
func TestApplicationThatClosesEarlyBehindAnActivator(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		for _, direct := range []bool{true, false} {
			application, c := start(t, "impatient", "application", learnt.String()), newControl(t)
			activator := start(t, "activate", c.address)
			endpoint := application.Endpoint
			if !direct {
				endpoint = startQueueProxy(t, endpoint, queueproxy.Options{})
			}
			c.serve(worldOf(model.Backend{Via: model.ViaActivator, Direct: direct, Endpoints: []model.Endpoint{endpoint}}, activator.Endpoint))
			begin(c)
			t.Logf("direct %t", direct)
			learn(c.user(t))
			pausing(t, c, learnt, 12).want(t, "application")
		}
	})
}

// The same behind a queue-proxy.
func TestApplicationThatClosesEarlyBehindAQueueProxy(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		application := start(t, "impatient", "application", learnt.String())
		c := newControl(t)
		c.serve(worldOf(model.Backend{Via: model.ViaReplicas, Endpoints: []model.Endpoint{startQueueProxy(t, application.Endpoint, queueproxy.Options{})}}))
		begin(c)
		learn(c.user(t))
		pausing(t, c, learnt, 12).want(t, "application")
	})
}

// learn gives a queue-proxy the opportunity to see for how long its application keeps a connection.
func learn(u *user) {
	for range 3 {
		u.send(http.MethodPost, "/")
		time.Sleep(2 * learnt) // more often than not the application closes the connection meanwhile
	}
}

// startQueueProxy serves before an application until the test ends.
func startQueueProxy(t *testing.T, application model.Endpoint, options queueproxy.Options) model.Endpoint {
	options.Target, options.Revision = net.JoinHostPort(application.Host, strconv.Itoa(application.Port)), hello
	p := queueproxy.New(options)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Serve(l) }()
	t.Cleanup(p.Close)
	at := l.Addr().(*net.TCPAddr)
	return model.Endpoint{Host: at.IP.String(), Port: at.Port}
}

// On each hop who sends requests gives an idle connection up first. What Envoy is told is in translator's golden cases.
func TestWhoSendsRequestsGivesAnIdleConnectionUpFirst(t *testing.T) {
	if 2*model.IdleClient > model.IdleServer {
		t.Errorf("gateways and activators keep idle connections for %v, those whom they ask for %v", model.IdleClient, model.IdleServer)
	}
}
