package csds

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

func TestEachConditionOfAResourceHasItsStatus(t *testing.T) {
	one, two := endpoints("a", "1", []byte("one")), endpoints("a", "2", []byte("two"))
	for name, c := range map[string]struct {
		has     session.Holding
		config  statusv3.ConfigStatus
		client  adminv3.ClientResourceStatus
		version string
		nacked  string
	}{
		"acknowledged": {
			has:    session.Holding{Has: one, Condition: session.Synced},
			config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED, version: "1",
		},
		"known not to exist": {
			has:    session.Holding{Condition: session.Synced},
			config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_DOES_NOT_EXIST,
		},
		"not sent yet": {
			has:    session.Holding{Condition: session.Pending},
			config: statusv3.ConfigStatus_NOT_SENT, client: adminv3.ClientResourceStatus_REQUESTED,
		},
		"a newer version not sent yet": {
			has:    session.Holding{Has: one, Condition: session.Pending},
			config: statusv3.ConfigStatus_NOT_SENT, client: adminv3.ClientResourceStatus_ACKED, version: "1",
		},
		"sent": {
			has:    session.Holding{Condition: session.Sent},
			config: statusv3.ConfigStatus_STALE, client: adminv3.ClientResourceStatus_REQUESTED,
		},
		"a newer version sent": {
			has:    session.Holding{Has: one, Condition: session.Sent},
			config: statusv3.ConfigStatus_STALE, client: adminv3.ClientResourceStatus_ACKED, version: "1",
		},
		"NACKed, with the version before in use": {
			has:    session.Holding{Has: one, Condition: session.Nacked, Rejection: offer.Rejection{Content: two}, Text: "no"},
			config: statusv3.ConfigStatus_ERROR, client: adminv3.ClientResourceStatus_NACKED, version: "1", nacked: "2",
		},
		"NACKed from the beginning": {
			has:    session.Holding{Condition: session.Nacked, Rejection: offer.Rejection{Content: two}, Text: "no"},
			config: statusv3.ConfigStatus_ERROR, client: adminv3.ClientResourceStatus_NACKED, nacked: "2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.has.Name = "a"
			configs := fetch(t, &stock{clients: []*client{newClient(1, "test", holding(c.has))}}, nodes())
			if len(configs) != 1 || len(configs[0].GenericXdsConfigs) != 1 {
				t.Fatalf("got %v, want one client with one resource", configs)
			}
			r := configs[0].GenericXdsConfigs[0]
			if r.ConfigStatus != c.config || r.ClientStatus != c.client || r.VersionInfo != c.version {
				t.Errorf("got %v, %v, version %q, want %v, %v, %q", r.ConfigStatus, r.ClientStatus, r.VersionInfo, c.config, c.client,
					c.version)
			}
			if c.version != "" && string(r.XdsConfig.GetValue()) != "one" {
				t.Errorf("the content is %q", r.XdsConfig.GetValue())
			}
			e := r.ErrorState
			if e.GetVersionInfo() != c.nacked || c.nacked != "" &&
				(e.GetDetails() != "no" || string(e.FailedConfiguration.GetValue()) != "two") {
				t.Errorf("the error state is %v, want one of the version %q", e, c.nacked)
			}
		})
	}
}

func TestContentsAndResourcesCanBeLeftOut(t *testing.T) {
	c := newClient(1, "test", holding(
		session.Holding{Name: "a", Has: endpoints("a", "1", []byte("one")), Condition: session.Synced}, session.Holding{Name: "b"},
	))
	s := &stock{clients: []*client{c}}
	r := nodes()
	r.ExcludeResourceContents = true
	got := fetch(t, s, r)[0]
	if len(got.GenericXdsConfigs) != 2 || got.GenericXdsConfigs[0].VersionInfo != "1" || got.GenericXdsConfigs[0].XdsConfig != nil {
		t.Errorf("without contents: %v", got.GenericXdsConfigs)
	}
	_ = fetch(t, s, withoutResources(nodes()))
	if c.withBodies {
		t.Error("the stream lists its resources for a question that wants none")
	}
	c.view.Types[0].Holdings = nil // as a stream answers such a question
	figures := figuresOf(fetch(t, s, withoutResources(nodes()))[0])
	types, _ := figures["types"].(map[string]any)
	if of, _ := types[resource.EndpointType].(map[string]any); of["synced"] != 1.0 || of["absent"] != 1.0 {
		t.Errorf("the counts are %v, want one that is synced and one that does not exist", figures["types"])
	}
}

// Clients whose streams do not answer get their figures, and cost an inspection of any size about a second.
func TestClientsThatDoNotAnswerHoldNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stock{}
		for i := range 200 {
			s.clients = append(s.clients, newClient(uint64(i), fmt.Sprintf("silent-%03d", i), nil))
		}
		there := newClient(1000, "zz-answers", holding())
		stuck := newClient(1001, "zz-stuck", holding())
		stuck.facts.Sending = time.Now().Add(-time.Minute)
		gone := newClient(1002, "zz-gone", nil)
		close(gone.ended)
		busy := newClient(1003, "zz-busy", nil)
		busy.busy = true
		s.clients = append(s.clients, there, stuck, gone, busy)
		began := time.Now()
		configs := fetch(t, s, nodes())
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("the answer took %v", took)
		}
		if len(configs) != len(s.clients) {
			t.Fatalf("%d clients are answered, want %d", len(configs), len(s.clients))
		}
		for _, c := range configs {
			figures := figuresOf(c)
			if figures["answers"] != (c.Node.Id == "zz-answers") || figures["protocol"] != "delta" || figures["newest"] != 7.0 {
				t.Errorf("the figures of %s are %v", c.Node.Id, figures)
			}
			if ms, has := figures["stuck_ms"]; has != (c.Node.Id == "zz-stuck") || has && ms.(float64) < 60_000 {
				t.Errorf("%s has been sending for %v ms", c.Node.Id, ms)
			}
		}
		if stuck.asked > 0 {
			t.Error("a stream that has been sending for a minute is asked")
		}
	})
}

func TestLagIsTheAgeOfTheOldestUnansweredState(t *testing.T) {
	now := time.Unix(1000, 0)
	id, facts := Identity{Role: contract.RoleGateway}, &Facts{}
	for name, c := range map[string]struct {
		lag          session.Lag
		sequence, ms float64
	}{
		"in sync":     {session.Lag{Newest: 9}, 9, 0},
		"behind":      {session.Lag{Newest: 9, Behind: 5, Since: now.Add(-2 * time.Second)}, 4, 2000},
		"just behind": {session.Lag{Newest: 9, Behind: 9, Since: now}, 8, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := figures(id, facts, &session.View{Lag: c.lag}, now).AsMap()
			if got["sequence"] != c.sequence || got["newest"] != 9.0 || got["lag_ms"] != c.ms {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestDesiredStateIsThatOfItsRole(t *testing.T) {
	s := &stock{offers: map[uint8][]offer.Offer{contract.RoleGateway: {
		{Entry: endpoints("a", "1", []byte("one"))}, {Entry: endpoints("b", "2", []byte("two")), NackedVersion: "3", NackText: "no"},
	}}}
	configs := fetch(t, s, nodes(exactly(DesiredPrefix+"gateway")))
	if len(configs) != 1 || configs[0].ClientScope != DesiredScope || len(configs[0].GenericXdsConfigs) != 2 {
		t.Fatalf("got %v, want one configuration with two resources", configs)
	}
	figures := figuresOf(configs[0])
	if figures["desired"] != true || figures["role"] != "gateway" || figures["sequence"] != 7.0 {
		t.Errorf("the figures are %v", figures)
	}
	if e := configs[0].GenericXdsConfigs[1].ErrorState; e.GetDetails() != "no" || e.GetVersionInfo() != "3" {
		t.Errorf("the error state is %v, want that of the NACKed version", e)
	}
	if e := configs[0].GenericXdsConfigs[0].ErrorState; e != nil {
		t.Errorf("a resource that nobody NACKs has the error state %v", e)
	}
	if configs := fetch(t, s, nodes(exactly(DesiredPrefix+"nobody"))); len(configs) != 0 {
		t.Errorf("a role that does not exist is offered %v", configs)
	}
}

func TestWhoMayNotAskGetsTheErrorOfTheGate(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		door   *door
		source stock
	}{
		"there is no place":        {door: &door{enter: no}},
		"the node may not ask":     {door: &door{permit: no}},
		"nothing is served so far": {door: &door{}, source: stock{complete: no}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := New(c.door, &c.source)
				if _, err := h.FetchClientStatus(t.Context(), nodes()); !errors.Is(err, no) {
					t.Errorf("a fetch gets %v", err)
				}
				stream := newCaller(t.Context(), 1)
				stream.requests <- nodes()
				if err := h.StreamClientStatus(stream); !errors.Is(err, no) {
					t.Errorf("a stream gets %v", err)
				}
				if n := c.door.taken(); n != 0 {
					t.Errorf("%d places are not given back", n)
				}
			})
		})
	}
}

func TestOneInspectionTooManyWaitsAndIsThenTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stock{hold: make(chan struct{})}
		h := New(&door{}, s)
		results := make(chan error, maxInspections)
		for range maxInspections {
			go func() {
				_, err := h.FetchClientStatus(t.Context(), nodes())
				results <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		if _, err := h.FetchClientStatus(t.Context(), nodes()); status.Code(err) != codes.ResourceExhausted ||
			time.Since(began) != inspectionWait {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.FetchClientStatus(impatient, nodes()); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a caller that waits for a second gets %v", err)
		}
		late := make(chan error, 1)
		go func() {
			_, err := h.FetchClientStatus(t.Context(), nodes())
			late <- err
		}()
		synctest.Wait()
		close(s.hold)
		if err := <-late; err != nil {
			t.Errorf("one that waited while another ended gets %v", err)
		}
		for range maxInspections {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// large is a client with more than a message can hold.
func large(resources, size int) *client {
	var holdings []session.Holding
	body := []byte(strings.Repeat("x", size))
	for i := range resources {
		name := fmt.Sprintf("r-%04d", i)
		holdings = append(holdings, session.Holding{Name: name, Has: endpoints(name, "1", body), Condition: session.Synced})
	}
	return newClient(1, "large", holding(holdings...))
}

func TestALargeClientComesInSeveralMessages(t *testing.T) {
	s := &stock{clients: []*client{newClient(2, "small", holding()), large(50, 200<<10)}}
	stream := newCaller(t.Context(), 100)
	stream.requests <- nodes()
	close(stream.requests)
	if err := New(&door{}, s).StreamClientStatus(stream); err != nil {
		t.Fatal(err)
	}
	close(stream.take)
	messages := 0
	var order []string
	found := map[string]int{}
	for m := range stream.take {
		messages++
		if size := proto.Size(m); size > maxMessage+(200<<10)+1000 {
			t.Errorf("a message has %d bytes", size)
		}
		for _, c := range m.Config {
			if len(order) == 0 || order[len(order)-1] != c.ClientScope {
				order = append(order, c.ClientScope)
			}
			found[c.Node.Id] += len(c.GenericXdsConfigs)
			if figuresOf(c)["answers"] != true {
				t.Errorf("a part of %s has no figures", c.Node.Id)
			}
		}
	}
	if messages < 4 || found["large"] != 50 || len(order) != 2 {
		t.Errorf("%d messages with the resources %v of %v, want all 50, those of a client one after the other", messages, found, order)
	}
}

func TestAUnaryAnswerHasALimit(t *testing.T) {
	s := &stock{clients: []*client{large(66, 1<<20)}}
	_, err := New(&door{}, s).FetchClientStatus(t.Context(), nodes())
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "StreamClientStatus") {
		t.Errorf("got %v, want an error that names what to do", err)
	}
}

func TestACallerThatAsksAgainIsAnsweredAgain(t *testing.T) {
	stream := newCaller(t.Context(), 2)
	h := New(&door{}, &stock{})
	ended := make(chan error, 1)
	go func() { ended <- h.StreamClientStatus(stream) }()
	for range 2 {
		stream.requests <- nodes()
		if r := <-stream.take; len(r.Config) != 0 {
			t.Errorf("got %v, want an empty answer", r)
		}
	}
	close(stream.requests)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnAnswerThatIsNotTakenEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stream := newCaller(ctx, 0)
		stream.requests <- nodes()
		began := time.Now()
		err := New(&door{}, &stock{}).StreamClientStatus(stream)
		if status.Code(err) != codes.DeadlineExceeded || time.Since(began) != inspectionWait+inspectionTime {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		cancel() // as gRPC does when the handler has returned
		synctest.Wait()
	})
}

func TestAServerThatEndsEndsItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := &door{closing: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- New(d, &stock{}).StreamClientStatus(newCaller(ctx, 0)) }()
		synctest.Wait()
		close(d.closing)
		if err := <-ended; !errors.Is(err, errClosing) {
			t.Errorf("got %v", err)
		}
		cancel()
		if d.taken() != 0 {
			t.Error("the place of the stream is not given back")
		}
	})
}
