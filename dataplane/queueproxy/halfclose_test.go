package queueproxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"sluice.dev/sluice/dataplane/queueproxy"
)

// TestEachDirectionOfATunnelEndsByItself has a client that says all it has to say, ends its direction, and then gets the answer.
func TestEachDirectionOfATunnelEndsByItself(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
			t.Error(err)
			return
		}
		said, err := io.ReadAll(buffered)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write(said) // the client says what it got
	}))
	_, address := serve(t, queueproxy.Options{Target: target})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: hello\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in); err != nil || string(got) != "ping" {
		t.Errorf("got %q, %v", got, err)
	}
}
