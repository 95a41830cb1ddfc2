package xds_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestStreamThatItsClientHasClosedEnds(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(cluster("a", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType, "a")
		switch wire := c.wire.(type) {
		case *deltaTransport:
			c.must(wire.stream.CloseSend())
		case *sotwTransport:
			c.must(wire.stream.CloseSend())
		}
		if err := <-c.ended; !errors.Is(err, io.EOF) {
			t.Errorf("the stream ended with %v", err)
		}
		eventually(t, "the stream is gone", func() bool { return r.Stats().Streams["gateway"] == 0 })
	})
}

func TestStreamsWithoutARequestCountOnlyAgainstTheLimit(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		moved := make(chan resource.Progress, 100)
		r := serve(t, xds.Options{MaxStreams: 3, Wait: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
		r.set(endpoints("a", ""))
		silent := []*raw{r.connect(t, p, "gateway"), r.connect(t, p, "gateway")}
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")
		seq := r.set(endpoints("a", "2"))
		c.take(resource.EndpointType, "a")
		for got := range moved { // the server does not wait for the two
			if got.Role == contract.RoleGateway && got.Seq == seq {
				break
			}
		}
		for _, s := range silent {
			s.cut()
		}
		eventually(t, "their places are free", func() bool {
			again := r.connect(t, p, "gateway")
			again.subscribe(resource.EndpointType, "a")
			defer again.cut()
			got, err := receiveNames(again)
			return err == nil && got.Set["a"] != nil
		})
	})
}
