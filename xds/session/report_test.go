package session

import (
	"testing"
	"time"

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
