package http

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
)

// row is one behaviour.
type row struct {
	// name describes the behaviour in docs/http.md.
	name string
	// send is what the client sends, and play what it does after that. Then it reads until the connection is closed.
	send string
	play func(c *conversation)
	// serve is how the application answers a request whose head has been read; nil reads all of it and answers 200 "ok".
	serve func(c *appConn)
	want  []expectation
	// but has the reasons of the hops for which the row does not hold.
	but map[string]string
}

// conversation is a connection of a client to a hop.
type conversation struct {
	net.Conn
	hop    string // its address
	app    *app
	answer bytes.Buffer // all bytes that the client has received
	failed error
}

func dial(t testing.TB, hop string, a *app) *conversation {
	t.Helper()
	conn, err := net.Dial("tcp", hop)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	return &conversation{Conn: conn, hop: hop, app: a}
}

func (c *conversation) send(text string) {
	_, _ = io.WriteString(c.Conn, c.app.mark(text)) // the hop may have closed the connection; readAll notices
}

// raw sends bytes that are not an HTTP/1 request.
func (c *conversation) raw(text string) { _, _ = io.WriteString(c.Conn, text) }

// read reads until it has received a text.
func (c *conversation) read(text string) {
	b := make([]byte, 4096)
	for c.failed == nil && !strings.Contains(c.answer.String(), text) {
		n, err := c.Conn.Read(b)
		c.answer.Write(b[:n])
		if err != nil {
			c.failed = fmt.Errorf("waiting for %q: %w", text, err)
		}
	}
}

// readAll reads until the hop closes the connection.
func (c *conversation) readAll() string {
	_, err := io.Copy(&c.answer, c.Conn)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.failed == nil {
		c.failed = fmt.Errorf("the connection is not closed after %v", waitLimit)
	}
	return c.answer.String()
}

// outcome is the result of a row.
type outcome struct {
	answers []answer
	raw     string
	seen    []request
}

// answer is a response.
type answer struct {
	status               int
	head, body, trailers string
	err                  error
}

// answersIn parses the responses that a hop has sent.
func answersIn(raw string) (all []answer) {
	r := bufio.NewReader(strings.NewReader(raw))
	for {
		head, err := readHead(r)
		if err != nil {
			return all
		}
		a := answer{head: head}
		if fields := strings.Fields(head); len(fields) > 1 {
			a.status, _ = strconv.Atoi(fields[1])
		}
		if a.status >= 200 || a.status == 101 {
			a.readBody(r)
		}
		all = append(all, a)
	}
}

func (a *answer) readBody(r *bufio.Reader) {
	var body []byte
	switch {
	case a.status == 204 || a.status == 304:
	case hasLine(a.head, "Transfer-Encoding: chunked"):
		body, a.trailers, a.err = readChunks(r)
	case hasLine(a.head, "Content-Length:"):
		for line := range strings.SplitSeq(a.head, "\r\n") {
			if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
				n, _ := strconv.Atoi(strings.TrimSpace(value))
				body = make([]byte, n)
				_, a.err = io.ReadFull(r, body)
			}
		}
	default:
		body, a.err = io.ReadAll(r)
	}
	a.body = string(body)
}

// expectation checks an outcome.
type expectation func(o *outcome) error

// statuses expects these statuses of all responses, interim ones included.
func statuses(want ...int) expectation {
	return func(o *outcome) error {
		var got []int
		for _, a := range o.answers {
			got = append(got, a.status)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("answers %v, want %v", got, want)
		}
		return nil
	}
}

// oneOf expects one response, with one of these statuses.
func oneOf(want ...int) expectation {
	return func(o *outcome) error {
		if len(o.answers) != 1 || !slices.Contains(want, o.answers[0].status) {
			return fmt.Errorf("answers %+v, want one of %v", o.answers, want)
		}
		return nil
	}
}

// refused expects that the only response, if there is one, is a refusal.
func refused(o *outcome) error {
	if len(o.answers) > 1 || len(o.answers) == 1 && o.answers[0].status/100 != 4 && o.answers[0].status/100 != 5 {
		return fmt.Errorf("answers %+v, want one refusal at most", o.answers)
	}
	return nil
}

// answerHas and answerLacks check the head of the last response; a line without a value stands for any value.
func answerHas(line string) expectation {
	return func(o *outcome) error {
		if a := o.last(); !hasLine(a.head, line) {
			return fmt.Errorf("the answer has no %q:\n%s", line, a.head)
		}
		return nil
	}
}

func answerLacks(line string) expectation {
	return func(o *outcome) error {
		if a := o.last(); hasLine(a.head, line) {
			return fmt.Errorf("the answer has %q:\n%s", line, a.head)
		}
		return nil
	}
}

func answerBody(want string) expectation {
	return func(o *outcome) error {
		if a := o.last(); a.body != want || a.err != nil {
			return fmt.Errorf("the answer's body is %q, want %q: %w", a.body, want, a.err)
		}
		return nil
	}
}

func answerTrailer(line string) expectation {
	return func(o *outcome) error {
		if a := o.last(); !hasLine(a.trailers, line) {
			return fmt.Errorf("the answer has no trailer %q: %q", line, a.trailers)
		}
		return nil
	}
}

// interim expects at most so many interim responses before another.
func interim(most int) expectation {
	return func(o *outcome) error {
		n := 0
		for _, a := range o.answers {
			if a.status < 200 {
				n++
			}
		}
		if n > most || len(o.answers) == n {
			return fmt.Errorf("%d interim answers and %d others, want %d at most and another", n, len(o.answers)-n, most)
		}
		return nil
	}
}

func (o *outcome) last() answer {
	if len(o.answers) == 0 {
		return answer{err: io.EOF}
	}
	return o.answers[len(o.answers)-1]
}

// appSaw expects that the application has received so many requests.
func appSaw(n int) expectation {
	return func(o *outcome) error {
		if len(o.seen) != n {
			var heads []string
			for _, r := range o.seen {
				heads = append(heads, r.head)
			}
			return fmt.Errorf("the application has received %d requests, want %d: %q", len(o.seen), n, heads)
		}
		return nil
	}
}

// appHas, appLacks, appBody and appTrailer check the last request that the application has received.
func appHas(line string) expectation {
	return func(o *outcome) error {
		if len(o.seen) == 0 || !o.seen[len(o.seen)-1].has(line) {
			return fmt.Errorf("the application has not received %q: %s", line, o.received())
		}
		return nil
	}
}

// appForwarded expects this X-Forwarded-For in the last request, with or without spaces.
func appForwarded(addresses ...string) expectation {
	return func(o *outcome) error {
		if appHas("X-Forwarded-For: "+strings.Join(addresses, ","))(o) == nil {
			return nil
		}
		return appHas("X-Forwarded-For: " + strings.Join(addresses, ", "))(o)
	}
}

func appLacks(line string) expectation {
	return func(o *outcome) error {
		if len(o.seen) == 0 || o.seen[len(o.seen)-1].has(line) {
			return fmt.Errorf("the application has received %q, or nothing: %s", line, o.received())
		}
		return nil
	}
}

func appBody(want string) expectation {
	return func(o *outcome) error {
		if len(o.seen) == 0 || o.seen[len(o.seen)-1].body != want {
			return fmt.Errorf("the application has not received the body %q: %s", want, o.received())
		}
		return nil
	}
}

func appTrailer(line string) expectation {
	return func(o *outcome) error {
		if len(o.seen) == 0 || !hasLine(o.seen[len(o.seen)-1].trailers, line) {
			return fmt.Errorf("the application has not received the trailer %q: %s", line, o.received())
		}
		return nil
	}
}

func (o *outcome) received() string {
	if len(o.seen) == 0 {
		return "nothing"
	}
	r := &o.seen[len(o.seen)-1]
	return fmt.Sprintf("%q %q %q", r.head, r.body, r.trailers)
}

// tries bounds how often a row is run whose request the hop could not send on.
const tries = 5

// run runs the row. A queue-proxy answers contract.ReasonUnsent when the application has closed the idle connection that it had chosen, as
// applications of rows before do. Gateways and activators try again then, and so does run.
func (r *row) run(t testing.TB, hop string, a *app) error {
	for i := 1; ; i++ {
		o, err := r.once(t, hop, a)
		if err != nil {
			return err
		}
		if unsent := contract.ReasonHeader + ": " + contract.ReasonUnsent; i < tries && hasLine(o.raw, unsent) {
			continue
		}
		for _, want := range r.want {
			if err := want(o); err != nil {
				return fmt.Errorf("%w; the client has %.500q", err, o.raw)
			}
		}
		return nil
	}
}

func (r *row) once(t testing.TB, hop string, a *app) (*outcome, error) {
	a.expect(r.serve)
	c := dial(t, hop, a)
	defer c.Close()
	c.send(r.send)
	if r.play != nil {
		r.play(c)
	}
	raw := c.readAll()
	a.cut() // ends requests that the application still reads
	if c.failed != nil {
		return nil, fmt.Errorf("%w, after %q", c.failed, raw)
	}
	return &outcome{answers: answersIn(raw), raw: raw, seen: a.got()}, nil
}

func TestTable(t *testing.T) {
	for _, h := range hops {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			a := startApp(t)
			a.extra = h.extra
			at := h.start(t, a.address)
			for _, r := range table {
				t.Run(r.name, func(t *testing.T) {
					err := r.run(t, at, a)
					switch why, differs := r.but[h.name]; {
					case !differs && err != nil:
						t.Error(err)
					case differs && err == nil:
						t.Errorf("the row holds: its reason is no longer true: %s", why)
					}
				})
			}
		})
	}
}
