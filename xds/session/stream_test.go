package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

const (
	cds = resource.ClusterType
	eds = resource.EndpointType
	lds = resource.ListenerType
	rds = resource.RouteType
)

// cluster is one that has the client subscribe to its endpoints.
func cluster(name string) *resource.Resource {
	body, err := proto.Marshal(&clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
	})
	if err != nil {
		panic(err)
	}
	r := made(cds, name, "1")
	r.Body = body
	return r
}

// gateway is a client that is settled, is subscribed to everything and has it.
func (d *desk) gateway(p Protocol) *peer {
	d.t.Helper()
	c := d.join(p, contract.RoleGateway)
	c.subscribe(cds)
	c.subscribe(eds)
	c.subscribe(lds)
	c.subscribe(rds)
	for d.now = d.now.Add(settle); ; {
		c.act()
		if len(c.sent) == 0 {
			return c
		}
		c.ackOf(c.sent[0])
		c.sent = c.sent[1:]
	}
}

func TestRoutesWaitForClustersAndEndpoints(t *testing.T) {
	d := newDesk(t)
	d.set(cluster("old"), made(eds, "old", "1"), made(rds, "http", "1"))
	c := d.gateway(Delta)
	d.Apply(resource.Update{
		Set:     []*resource.Resource{cluster("new"), made(eds, "new", "1"), made(rds, "http", "2")},
		Removed: []*resource.Resource{cluster("old"), made(eds, "old", "")},
	}, d.now)
	c.act()
	clusters, endpoints := c.next(cds, "new"), c.next(eds, "new")
	c.quiet()
	c.ackOf(clusters)
	c.quiet()
	c.ackOf(endpoints)
	routes := c.next(rds, "http")
	c.quiet() // the removals wait for the routes
	c.ackOf(routes)
	for _, url := range []string{eds, cds} { // in reverse
		if r := c.take(url); !slices.Equal(r.Removed, []string{"old"}) {
			t.Errorf("%v are removed", r.Removed)
		}
	}
	c.quiet()
}

func TestStreamGoesAheadWithoutTheAnswerWhenTheTimeIsOver(t *testing.T) {
	d := newDesk(t)
	d.set(made(rds, "http", "1"))
	c := d.gateway(Delta)
	d.set(made(cds, "new", "1"), made(rds, "http", "2"))
	c.act()
	late := c.next(cds, "new")
	if delay := c.Delay(d.now); delay != wait {
		t.Errorf("the stream has to come back in %v, want %v", delay, wait)
	}
	d.pass(wait - time.Millisecond)
	c.act()
	c.quiet()
	d.pass(time.Millisecond)
	c.act()
	routes := c.next(rds, "http")
	if v := c.View(false); !v.Silent {
		t.Error("the client does not count as silent")
	}
	c.ackOf(late)
	c.ackOf(routes)
	if v := c.View(false); v.Silent {
		t.Error("the client counts as silent though it has answered")
	}
}

// A client that is slow to take a response still has the whole time to answer it.
func TestTimeToAnswerBeginsWhenTheResponseIsSent(t *testing.T) {
	d := newDesk(t)
	d.set()
	c := d.join(Delta, contract.RoleGateway, func(client *Client) {
		send := client.Send
		client.Send = func(r Response) (time.Time, error) {
			d.now = d.now.Add(time.Minute)
			return send(r)
		}
	})
	c.subscribe(cds)
	c.next(cds)
	if delay := c.Delay(d.now); delay != wait {
		t.Errorf("the stream has to come back in %v, want %v", delay, wait)
	}
}

func TestErrorInSendingEndsTheStream(t *testing.T) {
	d := newDesk(t)
	d.set(made(cds, "a", "1"))
	c := d.join(Delta, contract.RoleGateway)
	c.failing = errors.New("gone")
	if err := c.Handle(&Request{Type: cds}, d.now); err != nil {
		t.Fatal(err)
	}
	if err := c.Advance(d.now); !errors.Is(err, c.failing) {
		t.Errorf("Advance returns %v", err)
	}
}

func TestNothingIsRemovedUntilANewStreamHasSettled(t *testing.T) {
	d := newDesk(t)
	d.set(made(cds, "a", "1"))
	c := d.join(Delta, contract.RoleGateway)
	c.say(&Request{Type: cds, Initial: map[string]string{"a": "1", "gone": "1"}})
	c.quiet()
	d.pass(settle - time.Millisecond)
	c.act()
	c.quiet()
	d.pass(time.Millisecond)
	c.act()
	if r := c.take(cds); !slices.Equal(r.Removed, []string{"gone"}) {
		t.Errorf("%v are removed", r.Removed)
	}
}

func TestNackedContentIsNotSentAgain(t *testing.T) {
	for _, p := range []Protocol{Delta, StateOfTheWorld} {
		t.Run(p.String(), func(t *testing.T) {
			d := newDesk(t)
			d.set(made(eds, "a", "1"), made(eds, "b", "1"))
			c := d.join(p, contract.RoleGateway)
			c.subscribe(eds, "a", "b")
			c.take(eds, "a", "b")
			d.set(made(eds, "a", "bad"))
			c.act()
			c.nackOf(c.next(eds, "a"), "no such zone")
			if len(d.nacks) != 1 || !slices.Equal(d.nacks[0].Names, []string{"a"}) || d.nacks[0].Text != "no such zone" {
				t.Errorf("NACKs are %+v", d.nacks)
			}
			d.pass(time.Hour)
			c.act()
			c.quiet()
			d.set(made(eds, "a", "good"))
			c.act()
			c.next(eds, "a")
		})
	}
}

func TestCandidateIsRolledBackForClientsThatDoNotAnswerInTime(t *testing.T) {
	for name, names := range map[string][]string{"by name": {"a"}, "wildcard": nil} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.set(made(eds, "a", "1"))
			one, two := d.join(Delta, contract.RoleGateway), d.join(Delta, contract.RoleGateway)
			for _, c := range []*peer{one, two} {
				c.subscribe(eds, names...)
				c.take(eds, "a")
			}
			d.set(made(eds, "a", "bad"))
			one.act()
			two.act()
			one.nackOf(one.next(eds, "a"), "no")
			two.next(eds, "a") // which it does not answer
			d.pass(wait - time.Millisecond)
			two.act()
			two.quiet()
			d.pass(time.Millisecond)
			two.act()
			if r := two.next(eds, "a"); r.Resources[0].Version != "1" {
				t.Errorf("version %s was sent, want the last good one", r.Resources[0].Version)
			}
			one.act()
			one.quiet() // it has the last good content
		})
	}
}

func TestCandidateIsRolledBackAtOnceWhenAllSubscribersNackIt(t *testing.T) {
	d := newDesk(t)
	d.set(made(eds, "a", "1"))
	one, two := d.join(Delta, contract.RoleGateway), d.join(StateOfTheWorld, contract.RoleGateway)
	for _, c := range []*peer{one, two} {
		c.subscribe(eds, "a")
		c.take(eds, "a")
	}
	d.set(made(eds, "a", "bad"))
	for _, c := range []*peer{one, two} {
		c.act()
		c.nackOf(c.next(eds, "a"), "no")
	}
	if found, _ := d.Rejections(0); len(found) != 1 || !found[0].RolledBack || found[0].Clients != 2 {
		t.Errorf("rejections are %+v", found)
	}
}

func TestListenerThatCannotBeBoundIsSentAgainWithBackOff(t *testing.T) {
	d := newDesk(t)
	d.set(made(lds, "http", "1"))
	c := d.join(Delta, contract.RoleGateway, func(client *Client) { client.OneType = true })
	c.subscribe(lds)
	for _, pause := range []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000} {
		c.nackOf(c.next(lds, "http"), "http: cannot bind '127.0.0.1:80': Address already in use")
		if delay := c.Delay(d.now); delay != pause*time.Millisecond {
			t.Errorf("the stream has to come back in %v, want %v", delay, pause*time.Millisecond)
		}
		c.act()
		c.quiet()
		d.pass(pause * time.Millisecond)
		c.act()
	}
	c.take(lds, "http")
	d.pass(time.Hour)
	c.act()
	c.quiet()
}

func TestLimitsOfWhatAClientMaySubscribeTo(t *testing.T) {
	for name, c := range map[string]struct {
		options func(*Options)
		client  func(*Client)
		request Request
		want    codes.Code
	}{
		"names": {options: func(o *Options) { o.MaxNames = 2 }, request: Request{Subscribe: []string{"a", "b", "c"}},
			want: codes.ResourceExhausted},
		"memory": {options: func(o *Options) { o.Memory = 500 }, request: Request{Subscribe: []string{"a", "b", "c"}},
			want: codes.ResourceExhausted},
		"long names": {request: Request{Subscribe: []string{string(make([]byte, resource.MaxName+1))}}, want: codes.InvalidArgument},
		"everything": {client: func(c *Client) { c.NamesOnly = true }, want: codes.PermissionDenied},
		"two names":  {options: func(o *Options) { o.MaxNames = 2 }, request: Request{Subscribe: []string{"a", "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(*Options) {}
			if c.options != nil {
				change = c.options
			}
			d := newDesk(t, change)
			d.set()
			limit := func(*Client) {}
			if c.client != nil {
				limit = c.client
			}
			peer := d.join(Delta, contract.RoleMesh, limit)
			c.request.Type = eds
			if err := peer.Handle(&c.request, d.now); status.Code(err) != c.want {
				t.Errorf("Handle returns %v, want %v", err, c.want)
			}
		})
	}
}

func TestLeavingGivesEverythingBack(t *testing.T) {
	d := newDesk(t)
	d.set(made(eds, "a", "1"))
	c := d.join(Delta, contract.RoleGateway)
	c.subscribe(eds, "a", "none")
	c.nackOf(c.next(eds, "a"), "no")
	c.Leave(d.now)
	if len(d.subscribers) > 0 || d.namesMemory != [2]int{} {
		t.Errorf("%d subscribed types and %v bytes of names are left", len(d.subscribers), d.namesMemory)
	}
	if found, _ := d.Rejections(0); len(found) > 0 {
		t.Errorf("rejections are %+v", found)
	}
}
