package offer

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// withCandidate has version 1 acknowledged and version 2 offered.
func withCandidate(t *testing.T, url string) *bench {
	b := newBench(t)
	b.set(url, "a", "1")
	b.ack(url, "a", "1")
	b.set(url, "a", "2")
	b.changes("a 1", "a 2")
	return b
}

func TestNackedCandidateIsRolledBackForItsRole(t *testing.T) {
	b := withCandidate(t, eds)
	b.nack(eds, "a", "2", answer{client: "one"})
	b.changes("a 1")
	b.offers(eds, "a", "1")
	got := b.Rejections()
	want := []resource.Rejection{{
		Role: contract.RoleGateway, Type: eds, Name: "a", Version: "2", Text: "no 2", Client: "one", Clients: 1, RolledBack: true,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}
}

func TestOtherRolesKeepTheCandidate(t *testing.T) {
	b := newBench(t)
	both := func(version string) []*resource.Resource {
		r := made(eds, "a", version)
		r.Roles = contract.RoleGateway | contract.RoleMesh
		return []*resource.Resource{r}
	}
	b.apply(both("1"))
	b.ack(eds, "a", "1")
	b.apply(both("2"))
	b.nack(eds, "a", "2", answer{client: "one"})
	b.offers(eds, "a", "1")
	if e := b.Get(Key{contract.RoleMesh, eds}, "a"); e.Version != "2" {
		t.Errorf("the mesh is offered version %s", e.Version)
	}
}

func TestContentThatWasNeverAcknowledgedIsNotRolledBack(t *testing.T) {
	b := newBench(t)
	b.set(eds, "a", "1")
	b.set(eds, "a", "2")
	b.changes("a 1", "a 2")
	b.nack(eds, "a", "2", answer{client: "one"})
	b.changes()
	b.offers(eds, "a", "2")
}

func TestAcknowledgedContentIsNotRolledBack(t *testing.T) {
	b := withCandidate(t, eds)
	b.ack(eds, "a", "2")
	b.nack(eds, "a", "2", answer{client: "one"})
	b.pass(time.Hour)
	b.changes()
	b.offers(eds, "a", "2")
}

func TestClientThatNacksEverythingRollsNothingBack(t *testing.T) {
	b := withCandidate(t, eds)
	b.nack(eds, "a", "2", answer{client: "one", unknown: true})
	b.pass(time.Hour)
	b.changes()
	b.offers(eds, "a", "2")
	if got := b.Rejections(); len(got) != 1 || got[0].NeverAcked != 1 {
		t.Errorf("rejections are %+v", got)
	}
}

func TestVersionThatWasRolledBackOnceIsRolledBackForAnyClient(t *testing.T) {
	b := withCandidate(t, eds)
	r := b.nack(eds, "a", "2", answer{client: "one"})
	b.withdraw(eds, "a", r, answer{}) // the client has left, and so the candidate is retried
	b.changes("a 1", "a 2")
	b.nack(eds, "a", "2", answer{client: "restarted", unknown: true})
	b.changes("a 1")
}

func TestOtherClientsAreWaitedForAndNotForever(t *testing.T) {
	b := withCandidate(t, eds)
	b.nack(eds, "a", "2", answer{client: "one", othersOpen: true})
	b.changes()
	if next := b.pass(wait - time.Second); next != time.Second {
		t.Errorf("the next tick is due in %v", next)
	}
	b.changes()
	b.pass(time.Second)
	b.changes("a 1")

	b = withCandidate(t, eds)
	b.nack(eds, "a", "2", answer{client: "one", othersOpen: true})
	b.ack(eds, "a", "2") // another client takes it
	if next := b.pass(wait); next != 0 {
		t.Errorf("a tick is due in %v", next)
	}
	b.changes()
}

func TestNewestContentIsRetriedWithBackOff(t *testing.T) {
	b := withCandidate(t, eds)
	b.nack(eds, "a", "2", answer{client: "one"})
	b.set(eds, "a", "3")
	b.changes("a 1", "a 3") // at once after the first roll back
	b.nack(eds, "a", "3", answer{client: "one"})
	b.changes("a 1")
	version := 3
	for _, seconds := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		for range 2 { // the newest alone is retried
			version++
			b.set(eds, "a", fmt.Sprint(version))
		}
		if next := b.pass(seconds*time.Second - time.Millisecond); next != time.Millisecond {
			t.Errorf("the next tick is due in %v, want 1ms", next)
		}
		b.changes()
		b.pass(time.Millisecond)
		newest := fmt.Sprint(version)
		b.changes("a " + newest)
		b.nack(eds, "a", newest, answer{client: "one"})
		b.changes("a 1")
	}
	b.ack(eds, "a", fmt.Sprint(version)) // after all
	b.changes("a " + fmt.Sprint(version))
	b.set(eds, "a", "next")
	b.nack(eds, "a", "next", answer{client: "one"})
	b.set(eds, "a", "over") // the back-off begins again
	b.changes("a next", "a "+fmt.Sprint(version), "a over")
}

func TestRolledBackContentIsOfferedWhenAClientAcknowledgesItAfterAll(t *testing.T) {
	b := withCandidate(t, eds)
	b.nack(eds, "a", "2", answer{client: "one"})
	b.ack(eds, "a", "2")
	b.changes("a 1", "a 2")
	b.nack(eds, "a", "2", answer{client: "one"})
	b.changes()
}

func TestLastGoodContentEndsTheRollBack(t *testing.T) {
	b := withCandidate(t, eds)
	b.nack(eds, "a", "2", answer{client: "one"})
	b.set(eds, "a", "1")
	b.set(eds, "a", "3")
	b.nack(eds, "a", "3", answer{client: "one"})
	b.set(eds, "a", "4") // as after a first roll back
	b.changes("a 1", "a 1", "a 3", "a 1", "a 4")
}

func TestNewSubscriptionHasTheNewestContentRetried(t *testing.T) {
	for name, subscribe := range map[string]func(b *bench){
		"to the name":   func(b *bench) { b.Subscribed(key(eds), "a", b.now) },
		"to everything": func(b *bench) { b.SubscribedAll(key(eds), b.now) },
	} {
		t.Run(name, func(t *testing.T) {
			b := withCandidate(t, eds)
			b.nack(eds, "a", "2", answer{client: "one"})
			b.changes("a 1")
			subscribe(b)
			b.offers(eds, "a", "1") // which the new client gets first
			if !b.Ready().Notify {
				t.Error("no effect says that a tick is due")
			}
			b.pass(wait - time.Millisecond)
			b.changes()
			b.pass(time.Millisecond)
			b.changes("a 2")
		})
	}
}

func TestNewestContentIsRetriedWhenNoClientNacksTheNameAnyMore(t *testing.T) {
	b := withCandidate(t, eds)
	one := b.nack(eds, "a", "2", answer{client: "one", othersOpen: true})
	two := b.nack(eds, "a", "2", answer{client: "two"})
	b.changes("a 1")
	b.withdraw(eds, "a", one, answer{})
	b.changes()
	if got := b.Rejections(); len(got) != 1 || got[0].Clients != 1 {
		t.Errorf("rejections are %+v", got)
	}
	b.withdraw(eds, "a", two, answer{})
	b.changes("a 2")
	if got := b.Rejections(); len(got) != 0 {
		t.Errorf("rejections are %+v", got)
	}
}

func TestNackForALocalReasonRollsNothingBack(t *testing.T) {
	b := withCandidate(t, resource.ListenerType)
	b.NACK(key(resource.ListenerType), Nack{
		Entry: b.entry(resource.ListenerType, "a", "2"), Client: "one", Text: "cannot bind", LocalOnly: true, HadAcked: true,
		Unanimous: func() bool { return true },
	}, Rejection{}, b.now)
	b.pass(time.Hour)
	b.changes()
	if got := b.Rejections(); len(got) != 1 || got[0].RolledBack {
		t.Errorf("rejections are %+v", got)
	}
}

func TestRolledBackRoutesAreNotInForce(t *testing.T) {
	b := withCandidate(t, rds)
	if got := b.InForce(contract.RoleGateway, b.Seq()); got != 2 {
		t.Errorf("state %d is in force, want 2", got)
	}
	b.nack(rds, "a", "2", answer{client: "one"})
	b.set(eds, "other", "1")
	if got := b.InForce(contract.RoleGateway, b.Seq()); got != 1 {
		t.Errorf("state %d is in force, want 1", got)
	}
	if got := b.InForce(contract.RoleMesh, b.Seq()); got != 3 {
		t.Errorf("state %d is in force for the mesh, want 3", got)
	}
	b.set(rds, "a", "3")
	if got := b.InForce(contract.RoleGateway, b.Seq()); got != 1 {
		t.Errorf("state %d is in force before version 3 is acknowledged, want 1", got)
	}
	b.ack(rds, "a", "3")
	if got := b.InForce(contract.RoleGateway, b.Seq()); got != 4 {
		t.Errorf("state %d is in force, want 4", got)
	}
}
