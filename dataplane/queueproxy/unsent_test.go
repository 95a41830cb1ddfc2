package queueproxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

var unsent = answer{503, contract.ReasonUnsent, "the application is not there; it has not received the request"}

func TestRequestsOfAnApplicationThatIsNotThereMayGoElsewhere(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		_, address := serve(t, queueproxy.Options{Target: "127.0.0.1:1", Protocol: protocol}) // nobody listens on that port
		if diff := cmp.Diff(unsent, get(t, client(t, protocol), "http://"+address)); diff != "" {
			t.Errorf("%s: %s", protocol, diff)
		}
	}
}

// raw is an application of whose connections each serves so many requests. It tells of every connection that it has closed after
// them: a transport may open one that it then has no use for.
func raw(t *testing.T, requests int, closed chan<- struct{}) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			in, served := bufio.NewReader(conn), 0
			for range requests {
				r, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/die" {
					listener.Close()
					break
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				served++
			}
			conn.Close()
			if served == requests {
				closed <- struct{}{}
			}
		}
	}()
	return listener
}

func TestRequestThatMayHaveBeenReceivedGoesNowhereElse(t *testing.T) {
	closed := make(chan struct{}, 10)
	application := raw(t, 10, closed)
	_, address := serve(t, queueproxy.Options{Target: application.Addr().String()})
	c := client(t, model.HTTP1)
	if got := get(t, c, "http://"+address+"/"); got.Status != 200 {
		t.Fatalf("got %v", got)
	}
	// The transport repeats this one, since it is a GET on a connection that was kept, and is refused a new connection.
	if diff := cmp.Diff(answer{502, contract.ReasonUnreachable, "the application did not answer"}, get(t, c, "http://"+address+"/die")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(unsent, get(t, c, "http://"+address+"/")); diff != "" {
		t.Error(diff)
	}
}

func TestNothingIsSentOnAConnectionThatTheApplicationHasClosed(t *testing.T) {
	closed := make(chan struct{}, 1)
	_, address := serve(t, queueproxy.Options{Target: raw(t, 1, closed).Addr().String()})
	c := client(t, model.HTTP1)
	lost := 0
	for range 200 {
		response, err := c.Post("http://"+address+"/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		switch reason := response.Header.Get(contract.ReasonHeader); {
		case response.StatusCode == 200:
			<-closed
		case reason == contract.ReasonUnsent: // the connection was found closed after the body was read from
		default:
			lost++
			t.Logf("status %d, reason %q", response.StatusCode, reason)
		}
	}
	// A busy machine may deliver the end of a connection some time after it was closed, and nobody can know it before.
	if lost > 1 {
		t.Errorf("%d of 200 requests were lost on connections that had been closed", lost)
	}
}

func TestAbandonedProxySendsThoseWhoWaitElsewhere(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{}, 1)
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-hold
	}))
	p, address := serve(t, queueproxy.Options{Target: target, Concurrency: 1})
	c := client(t, model.HTTP1)
	var group sync.WaitGroup
	group.Go(func() {
		if got := get(t, c, "http://"+address); got.Status != 200 {
			t.Errorf("the request that the application has: %v", got)
		}
	})
	<-begun
	for range 3 {
		group.Go(func() {
			if diff := cmp.Diff(unsent, get(t, c, "http://"+address)); diff != "" {
				t.Errorf("one that waits: %s", diff)
			}
		})
	}
	eventually(t, "three requests wait", func() bool { return p.Load().Waiting == 3 })
	p.Abandon()
	if diff := cmp.Diff(unsent, get(t, c, "http://"+address)); diff != "" {
		t.Errorf("one that comes: %s", diff)
	}
	close(hold)
	group.Wait()
}
