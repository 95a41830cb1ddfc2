package envoy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// An activator hangs. The requests that it has end with the revision's timeout, while it still hangs. The xDS server notices its
// silence and removes its endpoint, and all requests after that are answered.
func TestActivatorThatHangs(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		application, c := start(t, "server", "application"), newControl(t)
		hangs := start(t, "activate", c.address)
		replica := startQueueProxy(t, application.Endpoint, queueproxy.Options{})
		c.follow(func(activators []model.Endpoint) *model.World {
			return worldOf(model.Backend{
				Via: model.ViaActivator, Timeout: 3 * time.Second, Endpoints: []model.Endpoint{replica},
			}, activators...)
		})
		eventually(t, "the activator is connected", func() bool { return slices.Contains(c.standing(), hangs.Endpoint) })
		begin(c)
		together(c, t, 50, nil).want(t, "application")

		hangs.freeze(t)
		before := underLoad(t, c, 8, func() { // the activator hangs until the last of them has ended
			eventually(t, "the control plane no longer names it", func() bool { return !slices.Contains(c.standing(), hangs.Endpoint) })
			eventually(t, "requests are answered", func() bool { return c.user(t).send("POST", "/") == "application" })
			together(c, t, 200, nil).want(t, "application")
		})
		t.Log(before.all)
		for outcome := range before.all {
			if outcome != "application" && !strings.HasPrefix(outcome, "504 ") {
				t.Errorf("%d × %s", before.all[outcome], outcome)
			}
		}
	})
}

// A response that has begun and an upgraded connection may take longer than a request may wait for its response.
func TestStreamsOutliveTheTimeoutPerTry(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		application, c := start(t, "server", "application"), newControl(t)
		c.serve(worldOf(model.Backend{
			Via: model.ViaReplicas, Direct: true, Timeout: time.Millisecond, Endpoints: []model.Endpoint{application.Endpoint},
		}))
		begin(c)
		streaming := make(chan string, 1)
		go func() { streaming <- c.user(t).send(http.MethodGet, "/stream/finish") }()
		conn, err := net.Dial("tcp", c.gateway)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", host)
		upgraded := bufio.NewReader(conn)
		if response, err := http.ReadResponse(upgraded, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", response, err)
		}

		if got := c.user(t).send(http.MethodPost, "/never"); !strings.HasPrefix(got, "504 ") {
			t.Errorf("a request that the application does not answer got %q", got)
		}
		_, _ = io.WriteString(conn, "hello\n")
		if line, err := upgraded.ReadString('\n'); err != nil || line != "hello\n" {
			t.Errorf("the upgraded connection received %q, %v", line, err)
		}
		if got := c.user(t).send(http.MethodPost, "/open/finish"); got != "application" {
			t.Errorf("got %q", got)
		}
		if got := <-streaming; got != "applicationapplication" {
			t.Errorf("the response that had begun is %q", got)
		}
	})
}
