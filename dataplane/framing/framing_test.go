package framing

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server serves with net/http what test clients send over real sockets, and notes what it understood of it.
type server struct {
	http.Server
	address string
	mu      sync.Mutex
	seen    []string
}

func start(t testing.TB) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: ln.Addr().String()}
	s.Server = http.Server{Handler: http.HandlerFunc(s.serve), ConnContext: ConnContext, ConnState: ConnState}
	go func() { _ = s.Serve(listener{ln}) }()
	t.Cleanup(func() { _ = s.Server.Close() })
	return s
}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return New(conn), nil
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	conn := Of(r)
	if why := conn.Refusal(); why != "" {
		w.Header().Set("Connection", "close")
		http.Error(w, why, http.StatusBadRequest)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/early") {
		s.note(r.Method + " " + r.URL.Path)
		w.Header().Set("Content-Length", "0")
		_ = http.NewResponseController(w).Flush()
		conn.Finish(r.Body, RestWait)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.note(r.Method + " " + r.URL.Path + " malformed")
		http.Error(w, "malformed", http.StatusBadRequest)
		conn.Finish(r.Body, 0)
		return
	}
	s.note(fmt.Sprintf("%s %s %q", r.Method, r.URL.Path, body))
}

func (s *server) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, what)
}

// send sends bytes, and gives the status lines that come back until the server closes the connection.
func (s *server) send(t testing.TB, text string) (statuses []string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			return append(statuses, "closed")
		}
		_, _ = io.Copy(io.Discard, response.Body)
		statuses = append(statuses, response.Status[:3])
	}
}

const (
	post   = "POST /a HTTP/1.1\r\nHost: h\r\n"
	second = "GET /second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
)

func TestRequestsFollowEachOther(t *testing.T) {
	for name, text := range map[string]string{
		"length":              post + "Content-Length: 5\r\n\r\nhello",
		"chunked":             post + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n",
		"trailers":            post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\nX-B:\r\n\r\n",
		"line feeds alone":    "POST /a HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello",
		"a line break before": post + "Content-Length: 5\r\n\r\nhello\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			got := s.send(t, text+second)
			if want := []string{"200", "200", "closed"}; !slices.Equal(got, want) {
				t.Errorf("answers %v, want %v", got, want)
			}
			if want := []string{`POST /a "hello"`, `GET /second ""`}; !slices.Equal(s.seen, want) {
				t.Errorf("understood %q, want %q", s.seen, want)
			}
		})
	}
}

// malformed are bodies that have no end that all would agree on.
var malformed = map[string]string{
	"no digits":                "\r\nhello\r\n0\r\n\r\n",
	"other digits":             "g\r\nhello\r\n0\r\n\r\n",
	"0x":                       "0x5\r\nhello\r\n0\r\n\r\n",
	"plus":                     "+5\r\nhello\r\n0\r\n\r\n",
	"minus":                    "-5\r\nhello\r\n0\r\n\r\n",
	"underscore":               "0_5\r\nhello\r\n0\r\n\r\n",
	"too large":                "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
	"more than 64 bits":        "100000000000000005\r\nhello\r\n0\r\n\r\n",
	"space before the size":    " 5\r\nhello\r\n0\r\n\r\n",
	"space behind the size":    "5 \r\nhello\r\n0\r\n\r\n",
	"line feed behind size":    "5\nhello\r\n0\r\n\r\n",
	"carriage return in size":  "5\rx\r\nhello\r\n0\r\n\r\n",
	"data longer than size":    "5\r\nhello!\r\n0\r\n\r\n",
	"line feed behind data":    "5\r\nhello\n0\r\n\r\n",
	"no line break after data": "5\r\nhello0\r\n\r\n",
	"NUL in extension":         "5;a=\x00\r\nhello\r\n0\r\n\r\n",
	"line feed in extension":   "5;a=\nb\r\nhello\r\n0\r\n\r\n",
	"long extension":           "5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n",
	"trailer without colon":    "5\r\nhello\r\n0\r\nX-A\r\n\r\n",
	"trailer continued":        "5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n",
	"trailers with line feed":  "5\r\nhello\r\n0\r\nX-A: b\n\r\n",
	"long trailers":            "5\r\nhello\r\n0\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 17) + "\r\n",
}

func TestNothingFollowsAMalformedBody(t *testing.T) {
	for name, body := range malformed {
		for _, path := range []string{"/a", "/early"} {
			t.Run(name+path, func(t *testing.T) {
				s := start(t)
				got := s.send(t, "POST "+path+" HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+body+second+second)
				if len(got) != 2 || got[1] != "closed" {
					t.Errorf("answers %v, want one", got)
				}
				if len(s.seen) != 1 {
					t.Errorf("understood %q, want one request", s.seen)
				}
			})
		}
	}
}

func TestAHeadWithTwoLengthsIsRefused(t *testing.T) {
	for name, head := range map[string]string{
		"both":                  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"both, otherwise":       "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
		"two lengths":           "Content-Length: 5\r\nContent-Length: 5\r\n",
		"two codings":           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"another coding":        "Transfer-Encoding: gzip, chunked\r\n",
		"a list of lengths":     "Content-Length: 5, 5\r\n",
		"a sign":                "Content-Length: +5\r\n",
		"continued":             "Transfer-Encoding:\r\n chunked\r\n",
		"space before colon":    "Transfer-Encoding : chunked\r\n",
		"vertical tab in value": "Transfer-Encoding: \vchunked\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			got := s.send(t, post+head+"\r\n5\r\nhello\r\n0\r\n\r\n"+second)
			if len(got) != 2 || got[0] != "400" && got[0] != "501" || len(s.seen) != 0 {
				t.Errorf("answers %v, understood %q; want a refusal, and nothing", got, s.seen)
			}
		})
	}
	s := start(t)
	got := s.send(t, "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+second)
	if len(got) != 2 || got[0] != "400" || len(s.seen) != 0 {
		t.Errorf("HTTP/1.0: answers %v, understood %q", got, s.seen)
	}
	got = s.send(t, "PRI * HTTP/2.0\r\nHost: h\r\n\r\n"+second)
	if len(got) > 2 || len(s.seen) != 0 {
		t.Errorf("half a preface: answers %v, understood %q", got, s.seen)
	}
}

func TestTheRestOfABodyIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		rest string
		want []string
	}{
		"short":   {strings.Repeat("x", 1000), []string{"200", "200", "closed"}},
		"long":    {strings.Repeat("x", RestBytes+1), []string{"200", "closed"}},
		"stalled": {"", []string{"200", "closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			length := max(len(test.rest), 10)
			text := fmt.Sprintf("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", length, test.rest)
			if test.rest != "" {
				text += second
			}
			if got := s.send(t, text); !slices.Equal(got, test.want) {
				t.Errorf("answers %v, want %v", got, test.want)
			}
		})
	}
}

// FuzzScanner finds requests whose framing depends on how their bytes come in.
func FuzzScanner(f *testing.F) {
	for _, body := range malformed {
		f.Add([]byte(post+"Transfer-Encoding: chunked\r\n\r\n"+body+second), uint8(3))
	}
	f.Add([]byte(post+"Content-Length: 5\r\n\r\nhello"+second), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, size uint8) {
		whole, parts := stops(input, len(input)+1), stops(input, int(size)+1)
		if !slices.Equal(whole, parts) {
			t.Errorf("in one piece it ends at %v, in pieces of %d at %v", whole, int(size)+1, parts)
		}
	})
}

// stops gives the offsets at which requests end, with what becomes of the connection.
func stops(input []byte, size int) (at []string) {
	s, begun := &scanner{}, false
	for n := 0; n < len(input); {
		k := s.scan(input[n:min(n+size, len(input))])
		begun = begun || len(bytes.Trim(input[n:n+k], "\r\n")) > 0
		n += k
		if s.state == ended || s.state == unframed {
			return append(at, fmt.Sprint(s.state, s.refusal))
		}
		if begun && s.idle() {
			begun = false
			at = append(at, fmt.Sprint(n))
		}
	}
	return at
}
