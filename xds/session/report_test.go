package session

import (
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// look is the state that the gateways have answered for, and when one more counts as silent.
func (d *desk) look() (seq uint64, next time.Duration) {
	found, at := d.Look(Progress{}, d.now)
	if !at.IsZero() {
		next = at.Sub(d.now)
	}
	return found[resource.RoleIndex(contract.RoleGateway)].Seq, next
}

func TestRoleHasAnsweredWhenEachOfItsClientsHas(t *testing.T) {
	d := newDesk(t)
	d.set(made(eds, "a", "1"))
	one, two := d.gateway(Delta), d.gateway(Delta)
	one.act()
	if seq, _ := d.look(); seq != 1 {
		t.Errorf("state %d is answered for, want 1", seq)
	}
	d.set(made(eds, "a", "2"))
	one.act()
	two.act()
	one.take(eds, "a")
	if seq, _ := d.look(); seq != 1 {
		t.Errorf("state %d is answered for before the second client has, want 1", seq)
	}
	two.take(eds, "a")
	if seq, next := d.look(); seq != 2 || next != 0 {
		t.Errorf("state %d is answered for, and a client is waited for in %v, want 2 and none", seq, next)
	}
}

func TestSilentClientIsLeftOut(t *testing.T) {
	d := newDesk(t)
	d.set(made(eds, "a", "1"))
	c := d.gateway(Delta)
	d.pass(time.Minute) // at rest nobody has to say anything
	d.set(made(eds, "a", "2"))
	c.act()
	c.next(eds, "a")
	if seq, next := d.look(); seq != 1 || next != wait {
		t.Errorf("state %d is answered for, and the next look is due in %v, want 1 and %v", seq, next, wait)
	}
	d.pass(wait)
	if seq, _ := d.look(); seq != 2 {
		t.Errorf("state %d is answered for, want 2 without the silent client", seq)
	}
}

func TestReportedStateIsNotTakenBack(t *testing.T) {
	d := newDesk(t)
	d.set(made(eds, "a", "1"))
	d.set(made(eds, "a", "2"))
	c := d.join(Delta, contract.RoleGateway)
	last := Progress{{Role: contract.RoleGateway, Seq: 2}}
	found, _ := d.Look(last, d.now)
	if got := found[0]; got.Seq != 2 || got.Clients != 1 {
		t.Errorf("progress is %+v", got)
	}
	c.Leave(d.now)
	if found, _ := d.Look(last, d.now); found[0].Seq != 2 || found[0].Clients != 0 {
		t.Errorf("progress is %+v", found[0])
	}
}

// listener is one that has the client subscribe to the routes "http".
func listener(t *testing.T) *resource.Resource {
	t.Helper()
	return listenerOf(t, &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "http"}},
	})
}

func listenerOf(t *testing.T, m *hcmv3.HttpConnectionManager) *resource.Resource {
	t.Helper()
	manager, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(&listenerv3.Listener{Name: "l", FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r := made(lds, "l", "1")
	r.Body = body
	return r
}

// A gateway that lost its stream still serves. When it comes back it may be slow to subscribe to all its types again, and it has what it
// has missed only after the last of them.
func TestClientThatReturnsHasWhatItMissedWhenItHasSubscribedToAllAgain(t *testing.T) {
	d := newDesk(t)
	d.set(cluster("a"), made(eds, "a", "1"), listener(t), made(rds, "http", "1"))
	missed := d.set(made(rds, "http", "2"))
	c := d.join(Delta, contract.RoleGateway)
	behind := func(after string) {
		t.Helper()
		d.now = d.now.Add(2 * settle)
		c.act()
		c.quiet()
		if seq, next := d.look(); seq >= missed || next == 0 {
			t.Errorf("after %s state %d is answered for, and the next look is due in %v; it has missed %d", after, seq, next, missed)
		}
	}
	c.say(&Request{Type: cds, Initial: map[string]string{"a": "1"}})
	behind("clusters")
	c.say(&Request{Type: eds, Subscribe: []string{"a"}, Initial: map[string]string{"a": "1"}})
	behind("endpoints")
	c.say(&Request{Type: lds, Initial: map[string]string{"l": "1"}})
	behind("listeners")
	c.say(&Request{Type: rds, Subscribe: []string{"http"}, Initial: map[string]string{"http": "1"}})
	r := c.next(rds, "http")
	behind("routes")
	c.ackOf(r)
	if seq, next := d.look(); seq != missed || next != 0 {
		t.Errorf("state %d is answered for, and the next look is due in %v, want %d and none", seq, next, missed)
	}
}

func TestClientThatReturnsIsWaitedForOnlySoLong(t *testing.T) {
	d := newDesk(t)
	newest := d.set(cluster("a"), made(eds, "a", "1"), listener(t))
	c := d.join(Delta, contract.RoleGateway)
	c.say(&Request{Type: cds, Initial: map[string]string{"a": "1"}})
	if got := c.Delay(d.now.Add(settle)); got > wait-settle {
		t.Errorf("the stream acts again after %v, want at most %v", got, wait-settle)
	}
	d.now = d.now.Add(wait)
	c.act()
	if seq, _ := d.look(); seq != newest {
		t.Errorf("state %d is answered for, want %d", seq, newest)
	}
}
