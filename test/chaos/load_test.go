package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// timeout is how long a request may take.
const timeout = time.Minute

// load sends requests at a rate, even if earlier ones were not answered yet.
type load struct {
	// Set once.
	hosts    *hosts
	address  string // of the gateway
	rate     int    // per second
	failed   func(failure)
	late     func(host string) // called once, for a request that has taken half of the timeout
	http2    *http.Client
	upgrades *http.Client

	idle    connections
	running sync.WaitGroup
	once    sync.Once // for late

	mu sync.Mutex
	// Guarded by mu.
	taken  []time.Duration
	kinds  map[string]int
	lost   int
	killed []time.Time // when a gateway was killed that is one of several
	inside int         // requests that were inside of one then
}

// noticed bounds the time until a client has noticed that a gateway that was killed has closed its connection.
const noticed = 200 * time.Millisecond

// kill tells the load that one of several gateways is about to be killed. What is inside of it is lost.
func (l *load) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.killed = append(l.killed, time.Now())
}

// wasInside reports whether a request may have failed because it was inside of a gateway that was killed: it has no answer, it was sent
// before a kill and failed after it, and it had a connection.
func (l *load) wasInside(began, ended time.Time, err error) bool {
	var answered statusError
	if errors.As(err, &answered) || errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.killed {
		if began.Before(k.Add(noticed)) && ended.After(k) {
			l.inside++
			return true
		}
	}
	return false
}

// statusError is an answer of another status than 200.
type statusError struct{ error }

// failure is a request that failed.
type failure struct {
	began, ended time.Time
	host, what   string
	others       string // describes the other requests to the host
	err          error
}

func (f failure) String() string {
	return fmt.Sprintf("%s %s at %s for %v (%s): %v", f.what, f.host, f.began.Format(clock), f.ended.Sub(f.began).Round(time.Millisecond),
		f.others, f.err)
}

func newLoad(h *hosts, address string, rate int, failed func(failure)) *load {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &load{
		hosts: h, address: address, rate: rate, failed: failed, kinds: map[string]int{},
		idle:     connections{address: address},
		http2:    &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: timeout},
		upgrades: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// run sends requests until the context ends, and waits for those in flight. It catches up on requests that it could not send in time.
func (l *load) run(ctx context.Context, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	began, sent := time.Now(), 0
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		<-ticker.C
		due := int(time.Since(began).Seconds() * float64(l.rate))
		for ; sent < due; sent++ {
			h := l.hosts.begin()
			if h == nil {
				break
			}
			draw, ms := random.Float64(), random.IntN(2000)
			l.running.Go(func() { l.one(h, draw, ms) })
		}
		if behind := due - sent; behind > 2*l.rate { // after a long time without a request it does not catch up on all
			sent = due - 2*l.rate
		}
	}
	l.running.Wait()
	l.idle.close()
}

// one sends a request of some kind.
func (l *load) one(h *host, draw float64, ms int) {
	switch {
	case draw < 0.002 && !h.http2:
		l.send(h, "WebSocket", func(ctx context.Context) (string, error) { return l.echo(ctx, h.name, ms) })
	case draw < 0.3 && h.http2:
		l.send(h, "gRPC", func(ctx context.Context) (string, error) { return l.call(ctx, h.name) })
	case draw < 0.01:
		l.slow(h, ms/4)
	case draw < 0.35:
		l.send(h, "POST", func(context.Context) (string, error) {
			return l.exchange(http.MethodPost, h.name, "/", bytes.NewReader(make([]byte, ms)))
		})
	default:
		l.send(h, "GET", func(context.Context) (string, error) { return l.exchange(http.MethodGet, h.name, "/", nil) })
	}
}

// slow sends a request that takes some time.
func (l *load) slow(h *host, ms int) {
	l.send(h, "slow GET", func(context.Context) (string, error) {
		return l.exchange(http.MethodGet, h.name, "/?ms="+strconv.Itoa(ms), nil)
	})
}

// send sends a request, and judges and counts its outcome.
func (l *load) send(h *host, what string, request func(context.Context) (string, error)) {
	defer l.hosts.end(h)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	half := time.AfterFunc(timeout/2, func() { l.once.Do(func() { l.late(h.name) }) })
	began := time.Now()
	body, err := request(ctx)
	ended := time.Now()
	half.Stop()
	if err != nil && l.wasInside(began, ended, err) {
		return
	}
	if err == nil {
		var mark int
		if mark, err = strconv.Atoi(strings.TrimSpace(body)); err == nil {
			err = l.hosts.judge(h, mark, began, ended)
		}
	}
	l.mu.Lock()
	l.kinds[what]++
	if what != "WebSocket" && what != "slow GET" {
		l.taken = append(l.taken, ended.Sub(began))
	}
	if err != nil {
		l.lost++
	}
	l.mu.Unlock()
	if err != nil {
		l.failed(failure{began, ended, h.name, what, l.hosts.others(h), err})
	}
}

// exchange sends a request over HTTP/1.1, without ever repeating it.
func (l *load) exchange(method, host, path string, body io.Reader) (string, error) {
	c, err := l.idle.get()
	if err != nil {
		return "", err
	}
	request, err := http.NewRequest(method, "http://"+host+path, body)
	if err != nil {
		return "", err
	}
	_ = c.SetDeadline(time.Now().Add(timeout))
	if err := request.Write(c); err != nil {
		c.Close()
		return "", c.describe("writing", err)
	}
	response, err := http.ReadResponse(c.in, request)
	if err != nil {
		c.Close()
		return "", c.describe("reading", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.Close()
		return "", c.describe("reading the body", err)
	}
	if response.Close {
		c.Close()
	} else {
		l.idle.put(c)
	}
	return string(text), refusal(response, text)
}

// refusal is the error of a response with another status than 200.
func refusal(response *http.Response, body []byte) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return statusError{fmt.Errorf("status %d, reason %q, flags %q, server %q: %q", response.StatusCode,
		response.Header.Get("Sluice-Reason"),
		response.Header.Get("X-Envoy-Response-Flags"), response.Header.Get("Server"), bytes.TrimSpace(body))}
}

// call is a unary gRPC call.
func (l *load) call(ctx context.Context, host string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.address+"/chaos.App/Mark",
		bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return "", err
	}
	request.Host = host
	request.GetBody = nil // so that the transport cannot repeat it
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	response, err := l.http2.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	frame, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if err := refusal(response, frame); err != nil {
		return "", err
	}
	status := response.Trailer.Get("Grpc-Status") + response.Header.Get("Grpc-Status")
	if status != "0" || len(frame) < 5 || int(binary.BigEndian.Uint32(frame[1:5])) != len(frame)-5 {
		return "", fmt.Errorf("gRPC status %q, %q, reason %q, message %q",
			status, response.Header.Get("Grpc-Message"), response.Header.Get("Sluice-Reason"), frame)
	}
	return string(frame[5:]), nil
}

// echo opens a WebSocket and echoes some messages.
func (l *load) echo(ctx context.Context, host string, ms int) (string, error) {
	c, response, err := websocket.Dial(ctx, "ws://"+l.address+"/echo", &websocket.DialOptions{Host: host, HTTPClient: l.upgrades})
	if err != nil {
		if response != nil {
			return "", fmt.Errorf("%w: reason %q, flags %q", err, response.Header.Get("Sluice-Reason"),
				response.Header.Get("X-Envoy-Response-Flags"))
		}
		return "", err
	}
	defer c.CloseNow()
	_, mark, err := c.Read(ctx)
	if err != nil {
		return "", fmt.Errorf("the first message: %w", err)
	}
	for n := range 5 {
		time.Sleep(time.Duration(ms) * time.Millisecond / 5)
		text := fmt.Appendf(nil, "%s %d", host, n)
		if err := c.Write(ctx, websocket.MessageText, text); err != nil {
			return "", fmt.Errorf("message %d: %w", n, err)
		}
		_, back, err := c.Read(ctx)
		if err != nil {
			return "", fmt.Errorf("the echo of message %d: %w", n, err)
		}
		if !bytes.Equal(text, back) {
			return "", fmt.Errorf("the echo of message %d is %q", n, back)
		}
	}
	return string(mark), c.Close(websocket.StatusNormalClosure, "")
}

// connection is a connection to the gateway.
type connection struct {
	net.Conn
	in   *bufio.Reader
	used time.Time
	uses int
}

func (c *connection) describe(doing string, err error) error {
	return fmt.Errorf("%s, on a connection that has had %d requests before, unused for %v: %w",
		doing, c.uses-1, time.Since(c.used).Round(time.Millisecond), err)
}

// isClosed looks whether the other side has closed the connection.
func (c *connection) isClosed() bool {
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = n == 0 && err == nil || err != nil && err != syscall.EAGAIN
		return true
	})
	return closed || err != nil
}

// connections are the idle connections; the last one was used most recently.
type connections struct {
	address string
	checked bool // a connection that its gateway has closed is not used: several gateways come and go

	mu   sync.Mutex
	idle []*connection
}

// tooOld is for how long a connection may be idle. After that a gateway may close it.
const tooOld = 20 * time.Second

func (p *connections) get() (*connection, error) {
	p.mu.Lock()
	var c *connection
	if n := len(p.idle); n > 0 {
		c = p.idle[n-1]
		p.idle = p.idle[:n-1]
	}
	fresh := 0
	for fresh < len(p.idle) && time.Since(p.idle[fresh].used) > tooOld {
		p.idle[fresh].Close()
		fresh++
	}
	p.idle = slices.Delete(p.idle, 0, fresh)
	p.mu.Unlock()
	if c != nil {
		c.uses++
		if time.Since(c.used) < tooOld && (!p.checked || !c.isClosed()) {
			return c, nil
		}
		c.Close()
	}
	conn, err := net.DialTimeout("tcp", p.address, timeout)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, in: bufio.NewReader(conn), used: time.Now(), uses: 1}, nil
}

func (p *connections) put(c *connection) {
	c.used = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

func (p *connections) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.Close()
	}
	p.idle = nil
}

// figures summarizes the requests.
func (l *load) figures() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.taken)
	at := func(share float64) time.Duration {
		if len(l.taken) == 0 {
			return 0
		}
		return l.taken[min(len(l.taken)-1, int(share*float64(len(l.taken))))].Round(10 * time.Microsecond)
	}
	total := 0
	for _, n := range l.kinds {
		total += n
	}
	return fmt.Sprintf("%d requests %v, %d failed, %d were in a killed gateway; p50 %v p90 %v p99 %v p99.9 %v max %v",
		total, l.kinds, l.lost, l.inside, at(0.5), at(0.9), at(0.99), at(0.999), at(1))
}
