package xds_test

import (
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

type connected struct {
	role  uint8
	nodes []resource.Node
}

// gather has Options.Clients fill a channel.
func gather(options xds.Options) (xds.Options, <-chan connected) {
	seen := make(chan connected, 1000)
	options.Clients = func(role uint8, nodes []resource.Node) { seen <- connected{role, nodes} }
	return options, seen
}

// until waits until a role's clients are those.
func (c connected) await(t *testing.T, seen <-chan connected) {
	t.Helper()
	var last connected
	for limit := time.After(patience); ; {
		select {
		case last = <-seen:
			if last.role == c.role && slices.Equal(last.nodes, c.nodes) {
				return
			}
		case <-limit:
			t.Fatalf("clients are never said to be %v; the last were %v", c, last)
		}
	}
}

func nodeAt(id, role, address string) *corev3.Node {
	metadata, err := structpb.NewStruct(map[string]any{"sluice.dev": map[string]any{"address": address}})
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: id, Cluster: role, Metadata: metadata}
}

func TestConnectedClientsAreReported(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		options, seen := gather(xds.Options{})
		r := serve(t, options)
		join := func(id, role, address string) *raw {
			c := r.connect(t, p, role)
			c.node = nodeAt(id, role, address)
			c.subscribe(resource.EndpointType, "a")
			return c
		}
		// Before there is anything to serve.
		b := join("b", "activator", "127.0.0.1:2")
		connected{contract.RoleActivator, []resource.Node{{ID: "b", Address: "127.0.0.1:2"}}}.await(t, seen)
		r.set(endpoints("a", ""))
		a := join("a", "activator", "127.0.0.1:1")
		connected{contract.RoleActivator,
			[]resource.Node{{ID: "a", Address: "127.0.0.1:1"}, {ID: "b", Address: "127.0.0.1:2"}}}.await(t, seen)
		join("g", "gateway", "nonsense")
		connected{contract.RoleGateway, []resource.Node{{ID: "g"}}}.await(t, seen)
		again := join("a", "activator", "127.0.0.1:1") // its other stream is not known to be dead yet
		a.cut()
		b.cut()
		connected{contract.RoleActivator, []resource.Node{{ID: "a", Address: "127.0.0.1:1"}}}.await(t, seen)
		again.cut()
		connected{contract.RoleActivator, nil}.await(t, seen)
	})
}

func TestProgressOfEveryRole(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		for name, role := range map[string]uint8{
			"gateway": contract.RoleGateway, "activator": contract.RoleActivator, "mesh": contract.RoleMesh,
		} {
			moved := make(chan resource.Progress, 1000)
			r := serve(t, xds.Options{Wait: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
			is := func(seq uint64, clients int) {
				t.Helper()
				for {
					switch got := await(t, "progress", moved); {
					case got == (resource.Progress{Role: role, Seq: seq, Clients: clients}):
						return
					case got.Role == role && got.Seq > seq:
						t.Fatalf("got %+v, want %d of %d clients first", got, seq, clients)
					}
				}
			}
			r.set(endpoints("a", ""))
			c := r.connect(t, p, name)
			c.subscribe(resource.EndpointType, "a")
			c.take(resource.EndpointType, "a")
			is(1, 1)
			seq := r.set(endpoints("a", "2"))
			late := c.expect(resource.EndpointType, "a")
			d := r.connect(t, p, name)
			d.subscribe(resource.EndpointType, "a")
			d.take(resource.EndpointType, "a")
			is(seq-1, 2)
			c.ack(late)
			is(seq, 2)
			c.cut()
			is(seq, 1)
			d.cut()
			is(seq, 0)
			newest := r.set(endpoints("a", "3"))
			e := r.connect(t, p, name) // a client that comes back has the older state
			e.subscribe(resource.EndpointType, "a")
			is(seq, 1)
			e.take(resource.EndpointType, "a")
			is(newest, 1)
		}
	})
}
