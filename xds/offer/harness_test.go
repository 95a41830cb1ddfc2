package offer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// wait is how long clients have to answer.
const wait = 5 * time.Second

// bench is a State whose time a test tells, with what subscribed clients would be sent.
type bench struct {
	*State
	t       *testing.T
	now     time.Time
	entries map[string]*Entry // by type, name and version
	said    []string          // changes since the test looked last
}

func newBench(t *testing.T) *bench {
	return &bench{State: New(wait), t: t, now: time.Unix(1_000_000, 0), entries: map[string]*Entry{}}
}

func key(url string) Key { return Key{contract.RoleGateway, url} }

func made(url, name, version string) *resource.Resource {
	return &resource.Resource{Type: url, Name: name, Version: version, Roles: contract.RoleGateway}
}

// apply sets resources and removes others.
func (b *bench) apply(set []*resource.Resource, removed ...*resource.Resource) {
	p := Prepare(resource.Update{Set: set, Removed: removed})
	for _, e := range p.entries {
		b.entries[e.Type+e.Name+e.Version] = e
	}
	b.Apply(p, b.now)
	b.collect()
}

func (b *bench) set(url, name, version string) {
	b.apply([]*resource.Resource{made(url, name, version)})
}

func (b *bench) remove(url, name string) { b.apply(nil, made(url, name, "")) }

// entry is one that was set before.
func (b *bench) entry(url, name, version string) *Entry {
	b.t.Helper()
	e := b.entries[url+name+version]
	if e == nil {
		b.t.Fatalf("%s of version %s was never set", name, version)
	}
	return e
}

func (b *bench) ack(url, name, version string) {
	b.t.Helper()
	b.Acknowledge(key(url), b.entry(url, name, version), b.now)
	b.collect()
}

// answer says what is known of a client that NACKs.
type answer struct {
	client     string
	unknown    bool // it has acknowledged no content of the name before
	othersOpen bool // other clients have yet to answer
	before     Rejection
}

func (b *bench) nack(url, name, version string, a answer) Rejection {
	b.t.Helper()
	r := b.NACK(key(url), Nack{
		Entry: b.entry(url, name, version), Client: a.client, Text: "no " + version, HadAcked: !a.unknown, NeverAcked: a.unknown,
		Unanimous: func() bool { return !a.othersOpen },
	}, a.before, b.now)
	b.collect()
	return r
}

func (b *bench) withdraw(url, name string, r Rejection, a answer) {
	b.Withdraw(key(url), name, r, a.unknown, b.now)
	b.collect()
}

// pass lets time pass.
func (b *bench) pass(by time.Duration) (next time.Duration) {
	b.now = b.now.Add(by)
	at := b.Tick(b.now)
	b.collect()
	if at.IsZero() {
		return 0
	}
	return at.Sub(b.now)
}

func (b *bench) collect() {
	for _, c := range b.Ready().Changes {
		version := "removed"
		if c.Entry != nil {
			version = c.Entry.Version
		}
		b.said = append(b.said, fmt.Sprintf("%s %s", c.Name, version))
	}
}

// changes checks the changes since the last time, in any order.
func (b *bench) changes(want ...string) {
	b.t.Helper()
	got := b.said
	b.said = nil
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.t.Fatalf("changes are %q, want %q", got, want)
	}
}

// offers checks the version that is offered under a name.
func (b *bench) offers(url, name, version string) {
	b.t.Helper()
	got := ""
	if e := b.Get(key(url), name); e != nil {
		got = e.Version
	}
	if got != version {
		b.t.Fatalf("version %q of %s is offered, want %q", got, name, version)
	}
}
