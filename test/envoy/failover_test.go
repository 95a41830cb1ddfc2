package envoy

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/realenvoy"
)

// together sends n POSTs from several clients in parallel. It calls before before each with how many have begun.
func together(c *control, t *testing.T, n int, before func(begun int)) *tally {
	results, begun := &tally{}, &atomic.Int64{}
	var all sync.WaitGroup
	for range 8 {
		u := c.user(t)
		all.Go(func() {
			for i := begun.Add(1); i <= int64(n); i = begun.Add(1) {
				if before != nil {
					before(int(i))
				}
				results.add(u.send(http.MethodPost, "/"))
			}
		})
	}
	all.Wait()
	return results
}

// The only activator is killed while its revision has a replica: the next priority must answer.
func TestReplicaAnswersWhenTheOnlyActivatorIsKilled(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		activator, replica := start(t, "server", "activator"), start(t, "server", "replica")
		c := newControl(t)
		c.serve(worldOf(model.Backend{Via: model.ViaActivator, Endpoints: []model.Endpoint{replica.Endpoint}}, activator.Endpoint))
		begin(c)
		together(c, t, 50, nil).want(t, "activator")
		activator.kill()
		together(c, t, 400, nil).want(t, "replica")
	})
}

// Envoy ejects a dead endpoint, so that not every request tries it again.
func TestDeadEndpointIsEjected(t *testing.T) {
	activator, replica := start(t, "server", "activator"), start(t, "server", "replica")
	c := newControl(t)
	c.serve(worldOf(model.Backend{Via: model.ViaActivator, Endpoints: []model.Endpoint{replica.Endpoint}}, activator.Endpoint))
	admin, _ := startEnvoy(t, realenvoy.Find(t), c, nil)
	activator.kill()
	u := c.user(t)
	eventually(t, "the activator is ejected", func() bool {
		if who := u.send(http.MethodPost, "/"); who != "replica" {
			t.Fatal(who)
		}
		response, err := http.Get("http://" + admin + "/stats?filter=ejections_enforced_consecutive_local_origin_failure")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), hello.String()+".outlier_detection") &&
			!strings.Contains(string(text), hello.String()+".outlier_detection.ejections_enforced_consecutive_local_origin_failure: 0")
	})
}

// All replicas are killed at once, more of them than Envoy tries of one priority.
func TestActivatorAnswersWhenAllReplicasAreKilled(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		activator := start(t, "server", "activator")
		var replicas []*part
		backend := model.Backend{Via: model.ViaReplicas}
		for range 7 {
			r := start(t, "server", "replica")
			replicas, backend.Endpoints = append(replicas, r), append(backend.Endpoints, r.Endpoint)
		}
		c := newControl(t)
		c.serve(worldOf(backend, activator.Endpoint))
		begin(c)
		together(c, t, 100, nil).want(t, "replica")
		for _, r := range replicas {
			r.kill()
		}
		together(c, t, 400, nil).want(t, "activator")
	})
}

// A revision at zero has only activators as endpoints, and most of them are dead: the one that runs must answer.
func TestTheActivatorThatLivesAnswers(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		var activators []model.Endpoint
		var parts []*part
		for range 4 {
			a := start(t, "server", "activator")
			parts, activators = append(parts, a), append(activators, a.Endpoint)
		}
		c := newControl(t)
		c.serve(worldOf(model.Backend{Via: model.ViaActivator, Activators: 4}, activators...))
		begin(c)
		together(c, t, 50, nil).want(t, "activator")
		for _, a := range parts[:3] {
			a.kill()
		}
		together(c, t, 400, nil).want(t, "activator")
	})
}

// Endpoints are added and removed, and most of them are dead, so that Envoy is in panic mode. The one that runs must answer.
func TestEndpointsThatFlap(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		lives := start(t, "server", "replica")
		var dead []model.Endpoint
		for range 3 {
			p := start(t, "server", "dead")
			p.kill()
			dead = append(dead, p.Endpoint)
		}
		c := newControl(t)
		world := func(n int) *model.World {
			return worldOf(model.Backend{Via: model.ViaReplicas, Endpoints: append([]model.Endpoint{lives.Endpoint}, dead[:n%4]...)})
		}
		c.serve(world(0))
		begin(c)
		together(c, t, 1000, func(begun int) {
			if begun%50 == 0 {
				c.serve(world(begun / 50))
			}
		}).want(t, "replica")
	})
}
