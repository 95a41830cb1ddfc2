package main

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/resource"
)

func TestSubscribedNamesComeInOneResponseAndNothingElse(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A", "C")
		c.take("1", at("1", "A", "C"))
		c.quiet(g, "1", "A", "C")
	})
}

func TestWildcardGetsEverythingAndEveryChange(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe()
		c.take("1", at("1", "A", "B", "C"))
		updated, added := at("two", "A"), at("3", "D")
		if v.full(url) {
			updated, added = at("two", "A", "B", "C"), at("3", "A", "B", "C", "D")
		}
		g.update(url, "A", "two")
		c.take("two", updated)
		g.add(url, "D", "3")
		c.take("3", added)
	})
}

func TestNamesSubscribedOneAfterTheOther(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A")
		c.take("1", at("1", "A"))
		c.subscribe("B")
		if v.full(url) {
			c.take("1", at("1", "A", "B"))
		} else {
			c.take("1", at("1", "B"))
		}
		c.quiet(g, "1", "A", "B")
	})
}

func TestMissingResourceComesWhenItIsAdded(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A", "Z")
		if v.delta {
			c.take("1", at("1", "A"), "Z")
		} else {
			c.take("1", at("1", "A"))
		}
		g.add(url, "Z", "2")
		if v.full(url) {
			c.take("2", at("2", "A", "Z"))
		} else {
			c.take("2", at("2", "Z"))
		}
		c.quiet(g, "2", "A", "Z")
	})
}

func TestUnsubscribedResourceIsNotSentUntilItIsSubscribedAgain(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A", "B")
		c.take("1", at("1", "A", "B"))
		c.unsubscribe("B")
		g.update(url, "B", "2")
		g.update(url, "A", "3")
		c.take("3", at("3", "A"))
		c.subscribe("B")
		switch {
		case v.full(url):
			c.take("3", at("3", "A", "B"))
		case v.delta:
			c.take("3", at("2", "B"))
		default:
			c.take("3", at("3", "B"))
		}
		c.unsubscribe("A", "B") // to the last one
		g.update(url, "A", "4")
		c.quiet(g, "4")
	})
}

func TestRemovalIsSentAndTheResourceComesAgain(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A", "B")
		c.take("1", at("1", "A", "B"))
		g.remove(url, "A", "2")
		switch {
		case v.full(url):
			c.take("2", at("2", "B"))
		case v.delta:
			c.take("2", at("2"), "A")
		}
		g.add(url, "A", "3")
		if v.full(url) {
			c.take("3", at("3", "A", "B"))
		} else {
			c.take("3", at("3", "A"))
		}
		g.remove(url, "A", "") // without a new version of the type
		switch {
		case v.full(url):
			c.take("3", at("3", "B"))
		case v.delta:
			c.take("3", at("3"), "A")
		}
		c.quiet(g, "4", "B")
	})
}

func TestRejectionIsNotAnsweredUntilContentChanges(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A", "B")
		r := c.expect("1", at("1", "A", "B"))
		c.last.nonce = r.nonce // but not its version, since this is a NACK
		c.say(nil, nil, r.nonce, "not so")
		g.update(url, "A", "2")
		if v.full(url) {
			c.take("2", at("2", "A", "B"))
		} else {
			c.take("2", at("2", "A"))
		}
		c.quiet(g, "2", "A", "B")
	})
}

// A NACK that names a resource holds up no other. If responses contain all resources, the others come in one without it.
func TestRejectedResourceHoldsUpNoOther(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A", "B")
		r := c.expect("1", at("1", "A", "B"))
		c.last.nonce = r.nonce
		c.say(nil, nil, r.nonce, "A: not so")
		if v.full(url) {
			c.take("1", at("1", "B"))
		}
		g.update(url, "A", "2")
		if v.full(url) {
			c.take("2", at("2", "A", "B"))
		} else {
			c.take("2", at("2", "A"))
		}
		c.quiet(g, "2", "A", "B")
	})
}

func TestStaleNonce(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A")
		c.take("1", at("1", "A"))
		c.say([]string{"B"}, nil, "stale", "")
		if v.delta {
			c.take("1", at("1", "B"))
			return
		}
		c.names = []string{"A"} // the server has ignored B
		c.quiet(g, "1", "A")
	})
}

func TestStateIsReplacedAndCleared(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		c := g.connect(t, v, url)
		c.subscribe("A", "B") // before the node has a state
		g.set(url, "1")
		c.take("1", at("1", "A", "B"))
		g.set(url, "2") // the same resources
		c.take("2", at("2", "A", "B"))
		if got, err := g.call("ClearState", func(request dynamic) { request.setText("node", "n") }); err != nil || got == "" {
			t.Fatalf("ClearState returns %q, %v", got, err)
		}
		if v.delta {
			r := c.next()
			if len(r.set) > 0 || len(r.removed) != 2 {
				t.Fatalf("got %v, want A and B removed", r)
			}
			c.say(nil, nil, r.nonce, "")
		} else if v.full(url) {
			r := c.next()
			if len(r.set) > 0 {
				t.Fatalf("got %v, want nothing left", r)
			}
			c.last = r
			c.say(nil, nil, r.nonce, "")
		}
		g.set(url, "1")
		c.take("1", at("1", "A", "B"))
	})
}

func TestReconnectWithVersions(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		if v.delta {
			g.set(url, "1")
			g.update(url, "B", "2")
			c := g.connect(t, v, url)
			if err := c.stream.grpc.SendMsg(&discoveryv3.DeltaDiscoveryRequest{Node: c.node, TypeUrl: url,
				ResourceNamesSubscribe:  []string{"A", "B", "gone"},
				InitialResourceVersions: map[string]string{"A": "1", "B": "1", "gone": "1"}}); err != nil {
				t.Fatal(err)
			}
			c.node = nil
			r := c.next()
			c.say(nil, nil, r.nonce, "")
			if len(r.removed) == 0 { // the removal may come later: it waits a little on a new stream
				r.removed = c.next().removed
			}
			if len(r.set) != 1 || r.set["B"] != "2" || len(r.removed) != 1 || r.removed[0] != "gone" {
				t.Errorf("got %v, want B changed and gone removed", r)
			}
			return
		}
		// A version does not tell which resources the client has, so the server sends everything.
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.last.version = "1"
		c.subscribe("A", "B")
		c.take("1", at("1", "A", "B"))
	})
}

func TestFourTypesOfOneClientOnOneStreamAndOnFour(t *testing.T) {
	urls := []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType}
	for _, v := range variants {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			g := start(t)
			names := map[string][]string{}
			for _, url := range urls {
				names[url] = []string{"A", "B", "C"}
			}
			g.must("SetState", state("n", "1", names))
			var clients []*client
			if v.aggregated {
				clients = g.open(t, v, "n", urls...)
			} else {
				for _, url := range urls {
					clients = append(clients, g.connect(t, v, url))
				}
			}
			for _, c := range clients {
				c.subscribe("B")
				c.take("1", at("1", "B"))
			}
			for _, c := range clients {
				g.update(c.url, "B", "2")
				c.take("2", at("2", "B"))
			}
			for _, c := range clients {
				g.remove(c.url, "B", "3")
				switch {
				case v.full(c.url):
					c.take("3", at("3"))
				case v.delta:
					c.take("3", at("3"), "B")
				}
			}
			for _, c := range clients {
				c.quiet(g, "4")
			}
		})
	}
}

func TestEachNodeHasItsOwnState(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		for _, node := range []string{"one", "two"} {
			g.must("SetState", state(node, "of "+node, map[string][]string{url: {node}}))
		}
		for _, node := range []string{"one", "two"} {
			c := g.open(t, v, node, url)[0]
			c.subscribe()
			c.take("of "+node, at("of "+node, node))
		}
	})
}

func TestGeneratedResourcesAreValidAndUpdatesChangeThem(t *testing.T) {
	each(t, func(t *testing.T, g *target, v variant, url string) {
		g.set(url, "1")
		c := g.connect(t, v, url)
		c.subscribe("A")
		first := c.expect("1", at("1", "A"))
		c.last = first
		c.say(nil, nil, first.nonce, "")
		g.update(url, "A", "2")
		second := c.expect("2", at("2", "A"))
		for _, r := range []reply{first, second} {
			resource, err := r.bodies[0].UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			if err := resource.(message).ValidateAll(); err != nil {
				t.Error(err)
			}
		}
		if string(first.bodies[0].GetValue()) == string(second.bodies[0].GetValue()) {
			t.Error("the update changed no content")
		}
	})
}

func TestWrongRequestsAreRefusedWithASentence(t *testing.T) {
	g := start(t)
	g.set(resource.ClusterType, "1")
	for name, c := range map[string]struct {
		method string
		fill   func(dynamic)
		want   codes.Code
	}{
		"update of nothing":    {"UpdateResource", one("n", resource.ClusterType, "Z", "2"), codes.NotFound},
		"update to the same":   {"UpdateResource", one("n", resource.ClusterType, "A", "1"), codes.FailedPrecondition},
		"removal of nothing":   {"RemoveResource", one("n", resource.ClusterType, "Z", "2"), codes.NotFound},
		"addition of no type":  {"AddResource", one("n", "", "Z", "2"), codes.InvalidArgument},
		"addition of no name":  {"AddResource", one("n", resource.ClusterType, "", "2"), codes.InvalidArgument},
		"no version":           {"AddResource", one("n", resource.ClusterType, "Z", ""), codes.InvalidArgument},
		"line break in a name": {"AddResource", one("n", resource.RouteType, "Z", "a\nb"), codes.InvalidArgument},
		"unknown type":         {"SetState", state("n", "1", map[string][]string{resource.SecretType: {"A"}}), codes.InvalidArgument},
	} {
		if _, err := g.call(c.method, c.fill); status.Code(err) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// CSDS has a request type of its own.
func TestStatusIsServedOnAStream(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.must("SetState", state("test", "1", map[string][]string{resource.ClusterType: {"a"}}))
	stream, err := statusv3.NewClientStatusDiscoveryServiceClient(g.xds).StreamClientStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&statusv3.ClientStatusRequest{
		Node: &corev3.Node{Id: "test"},
		NodeMatchers: []*matcherv3.NodeMatcher{{NodeId: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: csds.DesiredPrefix + "gateway"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := stream.Recv()
	if err != nil || len(got.GetConfig()) != 1 || len(got.GetConfig()[0].GetGenericXdsConfigs()) != 1 {
		t.Errorf("the response is %v, %v; want the node's resources", got, err)
	}
}
