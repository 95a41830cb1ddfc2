package sink_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/event/sink"
)

func newSink(t *testing.T, o sink.Options) *sink.Sink {
	t.Helper()
	s, err := sink.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPublicAddresses(t *testing.T) {
	for address, public := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"fe80::1": false, "fd00::1": false, "0.0.0.0": false, "::": false, "100.64.0.1": false, "224.0.0.1": false, "ff02::1": false,
		"255.255.255.255": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
		"::127.0.0.1": false, "198.18.0.1": false,
	} {
		if got := sink.Public(netip.MustParseAddr(address)); got != public {
			t.Errorf("%s is public: %v", address, got)
		}
	}
}

// countingServer counts the connections that reach it.
func countingServer(t *testing.T, h http.HandlerFunc) (url string, connections chan net.Addr) {
	t.Helper()
	connections = make(chan net.Addr, 100)
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections <- c.RemoteAddr()
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, connections
}

func TestForgedRequestsReachNobody(t *testing.T) {
	inside, connections := countingServer(t, func(http.ResponseWriter, *http.Request) {})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(inside, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSink(t, sink.Options{})
	for _, url := range []string{
		inside, "http://localhost:" + port, "http://a.localhost:" + port, "http://[::1]:" + port, "http://[::ffff:127.0.0.1]:" + port,
		"http://0.0.0.0:" + port, "http://2130706433:" + port, "http://0x7f.1:" + port, "http://127.1:" + port,
		"http://user:password@example.com", "file:///etc/passwd", "gopher://example.com", "//example.com", "http://", "example.com",
		"https://example.com/" + strings.Repeat("a", 3000),
	} {
		if _, err := s.Send(t.Context(), sink.Message{URL: url}); err == nil {
			t.Errorf("%.60s was sent to", url)
		}
	}
	if len(connections) != 0 {
		t.Errorf("%d connections were made", len(connections))
	}
}

// The name is allowed to be looked at, and resolves to an address inside: what counts is the address at the time of the connection.
func TestTheAddressIsCheckedWhenItConnects(t *testing.T) {
	name := ""
	hosts, err := net.DefaultResolver.LookupHost(t.Context(), "localhost")
	if err != nil || len(hosts) == 0 {
		t.Skip("this machine has no name for its own address")
	}
	for _, candidate := range []string{"localhost.", "LOCALHOST."} { // with its dot it is not the name that Check knows
		if _, err := net.DefaultResolver.LookupHost(t.Context(), candidate); err == nil {
			name = candidate
			break
		}
	}
	if name == "" {
		t.Skip("no other name of this machine's own address")
	}
	inside, connections := countingServer(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(inside, "http://"))
	s := newSink(t, sink.Options{})
	url := "http://" + name + ":" + port
	if err := s.Check(url); err != nil {
		t.Fatalf("the URL does not get as far as the connection: %v", err)
	}
	final, err := s.Send(t.Context(), sink.Message{URL: url})
	if err == nil || !final || !strings.Contains(err.Error(), "not a public address") {
		t.Errorf("final %v, %v", final, err)
	}
	if len(connections) != 0 {
		t.Errorf("%d connections were made", len(connections))
	}
}

func TestAnswers(t *testing.T) {
	elsewhere, redirected := countingServer(t, func(http.ResponseWriter, *http.Request) {})
	url, _ := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/ok":
			if string(body) != "made" || r.Header.Get("A") != "b" || r.Method != http.MethodPost {
				t.Errorf("it was sent %s %q %v", r.Method, body, r.Header)
			}
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/never":
			<-r.Context().Done()
		case "/moved":
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	s := newSink(t, sink.Options{Allow: []string{"127.0.0.0/8"}, Timeout: 300 * time.Millisecond})
	for _, test := range []struct {
		path         string
		final, fails bool
	}{{"/ok", false, false}, {"/busy", false, true}, {"/never", false, true}, {"/moved", true, true}, {"/none", true, true}} {
		m := sink.Message{URL: url + test.path, Header: http.Header{"A": {"b"}}, Body: []byte("made")}
		if final, err := s.Send(t.Context(), m); final != test.final || (err != nil) != test.fails {
			t.Errorf("%s: final %v, %v", test.path, final, err)
		}
	}
	if len(redirected) != 0 {
		t.Error("a redirect was followed")
	}
}

func TestAllowedHosts(t *testing.T) {
	url, _ := countingServer(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	byName := newSink(t, sink.Options{Allow: []string{"LocalHost"}})
	if _, err := byName.Send(t.Context(), sink.Message{URL: "http://localhost:" + port}); err != nil {
		t.Errorf("a host that is allowed by its name: %v", err)
	}
	if _, err := byName.Send(t.Context(), sink.Message{URL: url}); err == nil {
		t.Error("its address is allowed too")
	}
	for _, wrong := range []string{"", "http://a", "10.0.0.0/99", "*.example.com", "a b"} {
		if _, err := sink.New(sink.Options{Allow: []string{wrong}}); err == nil {
			t.Errorf("%q is taken for a host or a network", wrong)
		}
	}
}
