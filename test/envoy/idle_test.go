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

// An application closes connections that were idle for 50 ms, about as often as requests come.
func TestApplicationThatClosesEarly(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		application := start(t, "impatient", "application", "50ms")
		c := newControl(t)
		c.serve(worldOf(model.Backend{Via: model.ViaReplicas, Direct: true, Endpoints: []model.Endpoint{application.Endpoint}}))
		begin(c)
		pausing(t, c, 50*time.Millisecond, 60).want(t, "application")
	})
}

// learnt is for how long the applications behind a queue-proxy keep idle connections. The queue-proxy closes them after half of that.
// The other half is long enough, even on a busy machine, between the queue-proxy's check of a connection and the write of a request.
const learnt = 400 * time.Millisecond

// pausing lets 16 users send n POSTs each, with about this pause between them.
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

// The same through an activator, without a queue-proxy and with one.
func TestApplicationThatClosesEarlyBehindAnActivator(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		for _, direct := range []bool{true, false} {
			application, c := start(t, "impatient", "application", learnt.String()), newControl(t)
			activator := start(t, "activate", c.address)
			endpoint := application.Endpoint
			if !direct {
				endpoint = startQueueProxy(t, endpoint, queueproxy.Options{})
			}
			c.serve(worldOf(model.Backend{
				Via: model.ViaActivator, Direct: direct, Endpoints: []model.Endpoint{endpoint},
			}, activator.Endpoint))
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
		c.serve(worldOf(model.Backend{
			Via: model.ViaReplicas, Endpoints: []model.Endpoint{startQueueProxy(t, application.Endpoint, queueproxy.Options{})},
		}))
		begin(c)
		learn(c.user(t))
		pausing(t, c, learnt, 12).want(t, "application")
	})
}

// learn lets a queue-proxy find out for how long its application keeps a connection.
func learn(u *user) {
	for range 3 {
		u.send(http.MethodPost, "/")
		time.Sleep(2 * learnt) // the application closes the connection meanwhile, most of the time
	}
}

// startQueueProxy runs a queue-proxy in front of an application until the test ends.
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

// On each hop the client closes an idle connection before the server. Envoy's settings are in translator's golden cases.
func TestClientsCloseIdleConnectionsFirst(t *testing.T) {
	if 2*model.IdleClient > model.IdleServer {
		t.Errorf("clients keep idle connections for %v, servers for %v", model.IdleClient, model.IdleServer)
	}
}
