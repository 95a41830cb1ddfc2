package xds

import (
	"math/rand/v2"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// randomResponse has resources of all sizes, or none, and names and versions that may be empty.
func randomResponse(random *rand.Rand) *session.Response {
	text := func(n int) string { return strings.Repeat("x", random.IntN(n)) }
	r := &session.Response{Type: "type/of", Version: text(40), Nonce: text(200)}
	for range random.IntN(20) {
		body := make([]byte, random.IntN(2)*random.IntN(3*shareFrom))
		for i := range body {
			body[i] = byte(random.Uint32())
		}
		r.Resources = append(r.Resources, offer.NewEntry(&resource.Resource{
			Type: "type/" + text(300), Name: text(200), Version: text(20), Body: body,
		}))
	}
	for range random.IntN(5) {
		r.Removed = append(r.Removed, text(200))
	}
	return r
}

func flat(e encoded) []byte { return mem.BufferSlice(e).Materialize() }

// The encoder writes what protobuf reads, and as many bytes as protobuf would have written.
func TestEncodedResponsesAreThoseOfProtobuf(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		r := randomResponse(random)
		delta := &discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: r.Type, Nonce: r.Nonce, SystemVersionInfo: r.Version, RemovedResources: r.Removed,
		}
		state := &discoveryv3.DiscoveryResponse{TypeUrl: r.Type, Nonce: r.Nonce, VersionInfo: r.Version}
		for _, e := range r.Resources {
			body := &anypb.Any{TypeUrl: e.Type, Value: e.Body}
			delta.Resources = append(delta.Resources, &discoveryv3.Resource{Name: e.Name, Version: e.Version, Resource: body})
			state.Resources = append(state.Resources, body)
		}
		for _, c := range []struct {
			got       []byte
			want, new proto.Message
		}{
			{flat(encodeDelta(r)), delta, &discoveryv3.DeltaDiscoveryResponse{}},
			{flat(encodeState(r)), state, &discoveryv3.DiscoveryResponse{}},
		} {
			if err := proto.Unmarshal(c.got, c.new); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(c.want, c.new) {
				t.Fatalf("protobuf reads %v, want %v", c.new, c.want)
			}
			if want := proto.Size(c.want); len(c.got) != want {
				t.Fatalf("%d bytes, protobuf takes %d", len(c.got), want)
			}
		}
	}
}

// All clients share the bodies.
func TestLargeBodiesAreNotCopied(t *testing.T) {
	body := make([]byte, shareFrom)
	entries := []*offer.Entry{offer.NewEntry(&resource.Resource{Type: resource.ListenerType, Name: "a", Body: body})}
	r := &session.Response{Nonce: "1", Resources: entries}
	for _, e := range []encoded{encodeDelta(r), encodeState(r)} {
		shared := false
		for _, piece := range e {
			shared = shared || len(piece.ReadOnlyData()) > 0 && &piece.ReadOnlyData()[0] == &body[0]
		}
		if !shared {
			t.Error("the body was copied")
		}
	}
}

// BenchmarkEncode is a response of one resource as the server writes it, against protobuf's own way, which copies the body for
// each client.
func BenchmarkEncode(b *testing.B) {
	for name, size := range map[string]int{"endpoint": 150, "routes-of-10,000": 4 << 20} {
		e := offer.NewEntry(&resource.Resource{
			Type: resource.RouteType, Name: "http", Version: "0123456789abcdef", Body: make([]byte, size),
		})
		r := &session.Response{Type: resource.RouteType, Version: "0123456789abcdef", Nonce: "1", Resources: []*offer.Entry{e}}
		b.Run(name+"/sluice", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encodeDelta(r)
			}
		})
		b.Run(name+"/protobuf", func(b *testing.B) {
			own := newCodec()
			b.ReportAllocs()
			for b.Loop() {
				data, err := own.Marshal(&discoveryv3.DeltaDiscoveryResponse{
					TypeUrl: r.Type, Nonce: r.Nonce, SystemVersionInfo: r.Version, Resources: []*discoveryv3.Resource{{
						Name: e.Name, Version: e.Version, Resource: &anypb.Any{TypeUrl: e.Type, Value: e.Body},
					}},
				})
				if err != nil {
					b.Fatal(err)
				}
				data.Free()
			}
		})
	}
}
