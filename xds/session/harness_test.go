package session

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

// Options of the hub of a test.
const (
	wait   = 5 * time.Second
	settle = 100 * time.Millisecond
)

// desk is a hub whose time a test tells.
type desk struct {
	*Hub
	t        *testing.T
	now      time.Time
	nacks    []resource.Nack
	notified int
}

func newDesk(t *testing.T, change ...func(*Options)) *desk {
	d := &desk{t: t, now: time.Unix(1_000_000, 0)}
	options := Options{
		Logger: hclog.NewNullLogger(), Wait: wait, Settle: settle, MaxNames: 100, Memory: 1 << 20,
		Nacked: func(n resource.Nack) { d.nacks = append(d.nacks, n) },
		Notify: func() { d.notified++ },
	}
	for _, c := range change {
		c(&options)
	}
	d.Hub = NewHub(options)
	return d
}

func made(url, name, version string) *resource.Resource {
	return &resource.Resource{Type: url, Name: name, Version: version, Roles: resource.AllRoles}
}

func (d *desk) set(resources ...*resource.Resource) uint64 {
	return d.Apply(resource.Update{Set: resources}, d.now)
}

func (d *desk) remove(resources ...*resource.Resource) uint64 {
	return d.Apply(resource.Update{Removed: resources}, d.now)
}

// pass lets time pass for the hub alone: a test has streams act.
func (d *desk) pass(by time.Duration) {
	d.now = d.now.Add(by)
	d.Tick(d.now)
}

// peer is a client of a stream that the test writes for.
type peer struct {
	*Stream
	d       *desk
	names   map[string][]string // by type: state of the world repeats them
	heard   time.Time
	sent    []Response
	failing error
}

func (d *desk) join(p Protocol, role uint8, change ...func(*Client)) *peer {
	c := &peer{d: d, heard: d.now, names: map[string][]string{}}
	client := Client{
		Protocol: p, Role: role, ID: "test",
		Heard: func() int64 { return c.heard.UnixNano() },
		Send: func(r Response) (time.Time, error) {
			c.sent = append(c.sent, r)
			return d.now, c.failing
		},
	}
	for _, each := range change {
		each(&client)
	}
	c.Stream = d.Hub.Join(client, d.now)
	return c
}

// say has the client send a request, and its stream do what follows.
func (c *peer) say(r *Request) {
	c.d.t.Helper()
	c.heard = c.d.now
	if err := c.Handle(r, c.d.now); err != nil {
		c.d.t.Fatal(err)
	}
	c.act()
}

// act has the stream do what there is to do.
func (c *peer) act() {
	c.d.t.Helper()
	if err := c.Advance(c.d.now); err != nil {
		c.d.t.Fatal(err)
	}
	c.Report(c.d.now)
}

// next is the oldest response that the test has not looked at, which must hold the names, sorted.
func (c *peer) next(url string, names ...string) Response {
	c.d.t.Helper()
	if len(c.sent) == 0 {
		c.d.t.Fatalf("nothing was sent, want %s with %v", resource.TypeName(url), names)
	}
	r := c.sent[0]
	c.sent = c.sent[1:]
	if got := namesOf(r.Resources); r.Type != url || !slices.Equal(got, names) {
		c.d.t.Fatalf("%s with %v was sent (removed %v), want %s with %v",
			resource.TypeName(r.Type), got, r.Removed, resource.TypeName(url), names)
	}
	return r
}

func namesOf(entries []*offer.Entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// take is next, acknowledged.
func (c *peer) take(url string, names ...string) Response {
	c.d.t.Helper()
	r := c.next(url, names...)
	c.ackOf(r)
	return r
}

func (c *peer) ackOf(r Response) {
	c.d.t.Helper()
	c.say(&Request{Type: r.Type, Nonce: r.Nonce, Names: c.names[r.Type]})
}

func (c *peer) nackOf(r Response, text string) {
	c.d.t.Helper()
	c.say(&Request{Type: r.Type, Nonce: r.Nonce, Names: c.names[r.Type], Error: &statuspb.Status{Message: text}})
}

// quiet checks that there is nothing that the test has not looked at.
func (c *peer) quiet() {
	c.d.t.Helper()
	if len(c.sent) > 0 {
		r := c.sent[0]
		c.d.t.Fatalf("%s with %v was sent (removed %v), want nothing", resource.TypeName(r.Type), namesOf(r.Resources), r.Removed)
	}
}

// subscribe sends a first request for names, in either protocol; none is everything.
func (c *peer) subscribe(url string, names ...string) {
	c.d.t.Helper()
	c.names[url] = names
	c.say(&Request{Type: url, Subscribe: names, Names: names})
}
