package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// hostile is a client with the role of a gateway that NACKs a share of the responses.
type hostile struct {
	client   *client.Client
	random   *rand.Rand
	share    float64
	answered atomic.Int64
	refused  atomic.Int64
}

// beHostile runs the client for some time.
func beHostile(server string, seed uint64, number int, stay time.Duration) (answered, refused int64) {
	x := &hostile{random: rand.New(rand.NewPCG(seed, 4))}
	x.share = []float64{0.1, 0.5, 1}[x.random.IntN(3)]
	x.client = client.New(client.Config{Target: server, NodeID: fmt.Sprint("hostile-", number), Role: "gateway", Handler: x.take})
	x.client.Subscribe(resource.ClusterType, client.Wildcard)
	x.client.Subscribe(resource.ListenerType, client.Wildcard)
	x.client.Subscribe(resource.RouteType, "http", "local")
	ctx, cancel := context.WithTimeout(context.Background(), stay)
	defer cancel()
	_ = x.client.Run(ctx) // the error is the end of the context
	return x.answered.Load(), x.refused.Load()
}

func (x *hostile) take(u client.Update) error {
	x.answered.Add(1)
	if u.Type == resource.ClusterType {
		for _, r := range u.Set {
			x.client.Subscribe(resource.EndpointType, r.Name)
		}
		x.client.Unsubscribe(resource.EndpointType, u.Removed...)
	}
	if len(u.Set) == 0 || x.random.Float64() >= x.share {
		return nil
	}
	x.refused.Add(1)
	return fmt.Errorf("%s: refused at random", u.Set[x.random.IntN(len(u.Set))].Name)
}
