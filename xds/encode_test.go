package xds

import (
	"math/rand/v2"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// randomPush has resources of all sizes, and none, and names and versions that may be empty.
func randomPush(random *rand.Rand) push {
	text := func(n int) string { return strings.Repeat("x", random.IntN(n)) }
	p := push{}
	for range random.IntN(20) {
		body := make([]byte, random.IntN(2)*random.IntN(3*shareFrom))
		for i := range body {
			body[i] = byte(random.Uint32())
		}
		p.set = append(p.set, newEntry(&Resource{Type: "type/" + text(300), Name: text(200), Version: text(20), Body: body}))
	}
	for range random.IntN(5) {
		p.gone = append(p.gone, text(200))
	}
	return p
}

func flat(e encoded) []byte { return mem.BufferSlice(e).Materialize() }

// What is written by hand is what protobuf reads and would have written.
func TestEncodedResponsesAreThoseOfProtobuf(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := randomPush(random)
		w := &watch{url: "type/of", version: random.Uint64(), given: strings.Repeat("v", random.IntN(2))}
		nonce := strings.Repeat("n", random.IntN(200))
		delta := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: w.url, Nonce: nonce, SystemVersionInfo: w.versionInfo(), RemovedResources: p.gone}
		state := &discoveryv3.DiscoveryResponse{TypeUrl: w.url, Nonce: nonce, VersionInfo: w.versionInfo()}
		for _, e := range p.set {
			body := &anypb.Any{TypeUrl: e.Type, Value: e.Body}
			delta.Resources = append(delta.Resources, &discoveryv3.Resource{Name: e.Name, Version: e.Version, Resource: body})
			state.Resources = append(state.Resources, body)
		}
		for _, c := range []struct {
			got       []byte
			want, new proto.Message
		}{
			{flat(encodeDelta(w, p, nonce)), delta, &discoveryv3.DeltaDiscoveryResponse{}},
			{flat(encodeState(w, p, nonce)), state, &discoveryv3.DiscoveryResponse{}},
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

// All clients share the bytes of the store.
func TestLargeBodiesAreNotCopied(t *testing.T) {
	body := make([]byte, shareFrom)
	p := push{set: []*entry{newEntry(&Resource{Type: ListenerType, Name: "a", Body: body})}}
	for _, e := range []encoded{encodeDelta(&watch{}, p, "1"), encodeState(&watch{}, p, "1")} {
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
		e := newEntry(&Resource{Type: RouteType, Name: "http", Version: "0123456789abcdef", Body: make([]byte, size)})
		w, p := &watch{url: RouteType}, push{set: []*entry{e}}
		b.Run(name+"/sluice", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encodeDelta(w, p, "1")
			}
		})
		b.Run(name+"/protobuf", func(b *testing.B) {
			own := newCodec()
			b.ReportAllocs()
			for b.Loop() {
				data, err := own.Marshal(&discoveryv3.DeltaDiscoveryResponse{
					TypeUrl: w.url, Nonce: "1", SystemVersionInfo: w.versionInfo(), Resources: []*discoveryv3.Resource{{
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
