package xds

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// fakeStream is an incremental stream without a network.
type fakeStream struct {
	deltaStream
	ctx  context.Context
	exit context.CancelFunc
	says chan *discoveryv3.DeltaDiscoveryRequest
	got  chan *discoveryv3.DeltaDiscoveryResponse
}

func (p *fakeStream) Context() context.Context { return p.ctx }

func (p *fakeStream) SendMsg(m any) error {
	r := &discoveryv3.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(flat(m.(encoded)), r); err != nil {
		return err
	}
	p.got <- r
	return nil
}

func (p *fakeStream) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) {
	select {
	case r := <-p.says:
		return r, nil
	case <-p.ctx.Done():
		return nil, io.EOF
	}
}

// connectFake connects a client that is subscribed to everything of a type.
func connectFake(t *testing.T, server *Server, url string) *fakeStream {
	ctx, cancel := context.WithCancel(t.Context())
	p := &fakeStream{
		ctx: ctx, exit: cancel, says: make(chan *discoveryv3.DeltaDiscoveryRequest),
		got: make(chan *discoveryv3.DeltaDiscoveryResponse, 10),
	}
	go func() {
		if err := server.DeltaAggregatedResources(p); err != nil {
			t.Error(err)
		}
	}()
	p.says <- &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Cluster: "gateway"}, TypeUrl: url}
	return p
}

// answer answers the next response, which must be of a version.
func (p *fakeStream) answer(t *testing.T, version, rejection string) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-p.got:
		if got := r.GetResources()[0].GetVersion(); got != version {
			t.Fatalf("version %s was sent, want %s", got, version)
		}
		answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
		if rejection != "" {
			answer.ErrorDetail = &statuspb.Status{Message: rejection}
		}
		p.says <- answer
		synctest.Wait()
	default:
		t.Fatalf("nothing was sent, want version %s", version)
	}
}

func TestContentThatIsNackedAgainAndAgainIsRetriedWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{})
		defer server.Close()
		number := 0
		change := func() string {
			number++
			version := fmt.Sprint(number)
			server.Apply(resource.Update{
				Set: []*resource.Resource{{Type: resource.EndpointType, Name: "a", Version: version, Roles: contract.RoleGateway}},
			})
			synctest.Wait()
			return version
		}
		nothing := func(p *fakeStream, when string) {
			t.Helper()
			synctest.Wait()
			if len(p.got) > 0 {
				t.Fatalf("%s: version %s was sent, want nothing", when, (<-p.got).GetResources()[0].GetVersion())
			}
		}
		first := change()
		p := connectFake(t, server, resource.EndpointType)
		defer p.exit()
		p.answer(t, first, "")
		p.answer(t, change(), "no")
		p.answer(t, change(), "no") // the next version is offered at once
		for _, seconds := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			change()
			time.Sleep(seconds*time.Second - time.Millisecond)
			newest := change()
			nothing(p, fmt.Sprint("before ", seconds, " s"))
			time.Sleep(time.Millisecond)
			p.answer(t, newest, "no")
		}
		change()
		time.Sleep(time.Minute)
		p.answer(t, fmt.Sprint(number), "") // an acknowledgement ends the back-off
		p.answer(t, change(), "no")
		p.answer(t, change(), "no")
		change()
		nothing(p, "after two rejections")
		server.Apply(resource.Update{Removed: []*resource.Resource{{Type: resource.EndpointType, Name: "a", Roles: contract.RoleGateway}}})
		synctest.Wait()
		gone := <-p.got
		p.says <- &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResponseNonce: gone.GetNonce()}
		newest := change()
		p.answer(t, newest, "no") // a new resource of an old name
		time.Sleep(time.Hour)
		nothing(p, "an hour later")
	})
}

// One client NACKs, and another does not answer: the server waits for it a while, and when it answers after all, that counts.
func TestRollBackWaitsABoundedTimeForClientsThatHaveNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 5 * time.Second
		server := New(Options{Wait: wait})
		defer server.Close()
		set := func(version string) {
			server.Apply(resource.Update{
				Set: []*resource.Resource{{Type: resource.EndpointType, Name: "a", Version: version, Roles: contract.RoleGateway}},
			})
			synctest.Wait()
		}
		set("1")
		first, second := connectFake(t, server, resource.EndpointType), connectFake(t, server, resource.EndpointType)
		defer first.exit()
		defer second.exit()
		first.answer(t, "1", "")
		second.answer(t, "1", "")
		set("2")
		first.answer(t, "2", "no")
		time.Sleep(wait - time.Second)
		<-second.got
		second.says <- &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesSubscribe: []string{"a"}}
		synctest.Wait()
		late := <-second.got // it has subscribed again
		third := connectFake(t, server, resource.EndpointType)
		defer third.exit()
		third.answer(t, "2", "no")
		time.Sleep(2 * time.Second)
		fourth := connectFake(t, server, resource.EndpointType)
		defer fourth.exit()
		fourth.answer(t, "1", "") // it was rolled back
		second.says <- &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResponseNonce: late.GetNonce()}
		fourth.answer(t, "2", "")
	})
}

// A client that connects while content is rolled back is sent the last good content, and after a while the newest.
func TestClientThatConnectsLaterIsSentTheCandidateAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{Wait: 5 * time.Second})
		defer server.Close()
		set := func(version string) {
			server.Apply(resource.Update{
				Set: []*resource.Resource{{Type: resource.EndpointType, Name: "a", Version: version, Roles: contract.RoleGateway}},
			})
			synctest.Wait()
		}
		set("1")
		first := connectFake(t, server, resource.EndpointType)
		defer first.exit()
		first.answer(t, "1", "")
		set("2")
		first.answer(t, "2", "no")
		second := connectFake(t, server, resource.EndpointType)
		defer second.exit()
		second.answer(t, "1", "")
		time.Sleep(5 * time.Second)
		second.answer(t, "2", "")
	})
}
