package feature

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/xds/client"
)

// A second gateway acknowledges the first configuration and then NACKs the routes of a change. The Service and its Route report that
// with the gateway's error text. Requests through the other gateway go on, and it applies the change.
func TestRejectionShowsInTheServiceAndHarmsNoRequest(t *testing.T) {
	onEachGateway(t, rejectionShowsInTheServiceAndHarmsNoRequest)
}

func rejectionShowsInTheServiceAndHarmsNoRequest(t *testing.T, g gateway) {
	s := g.up(t)
	s.create(newApp(t, "hello", nil, "TARGET", "one"))
	host := strings.TrimPrefix(s.service("hello").Status.URL, "http://")
	host, _, _ = strings.Cut(host, ":")
	routes := "http/" + host // of its scope

	var rejecting, accepted atomic.Bool
	critic := client.New(client.Config{Target: s.socket(), NodeID: "critic", Role: "gateway", Handler: func(u client.Update) error {
		if u.Type != resource.RouteType {
			return nil
		}
		if rejecting.Load() {
			return fmt.Errorf("route configuration %q is not to my taste", routes)
		}
		accepted.Store(true)
		return nil
	}})
	critic.Subscribe(resource.ClusterType, client.Wildcard)
	critic.Subscribe(resource.RouteType, routes)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = critic.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "the second gateway has the routes", func() error {
		if !accepted.Load() {
			return errors.New("not yet")
		}
		return nil
	})
	load := s.startLoad(host, 4)
	defer load.cancel()

	rejecting.Store(true)
	target := func(value string) {
		s.change("hello", func(o *servingv1.Service) { o.Spec.Template.Spec.Containers[0].Env[0].Value = value })
	}
	target("two")
	eventually(t, "the Service shows the rejection", func() error {
		c := s.service("hello").Status.Condition("RoutesReady")
		want := []string{"1 of 2 gateways reject RouteConfiguration", fmt.Sprintf("route configuration %q is not to my taste", routes)}
		if c == nil || c.Status != "False" || c.Reason != "ResourceRejected" || !strings.Contains(c.Message, want[0]) ||
			!strings.Contains(c.Message, want[1]) {
			return fmt.Errorf("RoutesReady is %+v", c)
		}
		return nil
	})
	eventually(t, "the other gateway sends requests to the new revision", func() error {
		if _, body, err := s.get(host, "/"); err != nil {
			return err
		} else if body != "hello-00002" {
			return fmt.Errorf("answered %q", body)
		}
		return nil
	})

	rejecting.Store(false)
	target("three")
	s.ready("hello")
	if c := s.service("hello").Status.Condition("RoutesReady"); c.Reason != "" {
		t.Errorf("RoutesReady is still %+v", c)
	}
	if answered, failed := load.stop(); answered == 0 || len(failed) > 0 {
		t.Errorf("%d requests were answered; failed: %v", answered, failed)
	}
}
