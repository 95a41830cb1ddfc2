package controlplane_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

func TestRejectionIsAProblemOfTheOwnersOfItsResourceWhileItLasts(t *testing.T) {
	p := newHarness(t)
	p.connect("")
	p.connect("bad")
	p.loop.Offer(world(1, "a"))
	p.eventually("generation 1 is programmed", p.has(1))
	w := world(2, "a", "bad")
	revision, route := model.Ref{Kind: "Revision", Key: key("bad")}, w.Routes[1].Owner
	w.Backends[1].Owner = revision
	p.loop.Offer(w)
	message := `1 of 2 gateways reject Cluster "default/bad": cluster default/bad is rejected. They keep what they had.`
	want := []model.Problem{
		{Owner: revision, Reason: model.ResourceRejected, Message: message},
		{Owner: route, Reason: model.ResourceRejected, Message: message},
	}
	p.eventually("revision and route have the problem", func() bool { return cmp.Equal(want, p.problems) })
	p.eventually("generation 2 is programmed all the same", p.has(2))

	// With the next World the problem stays, after the problems of that World itself.
	next := world(3, "a", "bad")
	next.Backends[1].Owner, next.Routes[0].Rules[0].Shares[0].Revision = revision, key("nowhere")
	p.loop.Offer(next)
	p.eventually("all three problems are reported", func() bool {
		return len(p.problems) == 3 && p.problems[0].Owner.Key == key("a") && cmp.Equal(want, p.problems[1:])
	})
	p.loop.Offer(world(4, "a"))
	p.eventually("the problems have gone with the backend", func() bool { return len(p.problems) == 0 })
}

func TestRejectionCountsTheClientsThatThereAre(t *testing.T) {
	p := newHarness(t)
	p.connect("bad")
	p.loop.Offer(world(1, "good"))
	p.eventually("the gateway acknowledges the valid cluster", p.has(1))
	p.loop.Offer(world(2, "bad", "good"))
	says := func(count string) func() bool {
		return func() bool {
			return slices.ContainsFunc(p.problems, func(x model.Problem) bool {
				return x.Owner.Key == key("bad") &&
					x.Message == count+` reject Cluster "default/bad": cluster default/bad is rejected. They keep what they had.`
			})
		}
	}
	p.eventually("it is one of one", says("1 of 1 gateways"))
	p.connect("")
	p.eventually("it is one of two", says("1 of 2 gateways"))
	p.connect("bad")
	p.eventually("it is two of three", says("2 of 3 gateways"))
}

// As long as another client acknowledges what it rejects.
func TestClientThatRejectsEverythingIsNotTheProblemOfAnyObject(t *testing.T) {
	p := newHarness(t)
	p.connect("default/")
	p.loop.Offer(world(1, "a", "b"))
	p.eventually("while it is the only gateway, the Route has the problem", func() bool {
		return len(p.problems) > 0 && p.problems[0].Owner.Kind == "Route"
	})
	p.connect("")
	p.eventually("only the client has the problem", func() bool {
		return len(p.problems) == 1 && p.problems[0].Owner == model.Ref{Kind: "Client", Key: model.Key{Name: "gateway-1"}} &&
			strings.Contains(p.problems[0].Message, `Client "gateway-1" rejects everything that it was sent`)
	})
}
