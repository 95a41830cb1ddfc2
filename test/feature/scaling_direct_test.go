package feature

import (
	"fmt"
	"testing"

	"sluice.dev/sluice/test/address"
)

// The same load gives the same replicas, whether queue-proxies report it or the gateway does.
func TestReplicasAreTheSameWithoutQueueProxies(t *testing.T) {
	onEachGateway(t, replicasAreTheSameWithoutQueueProxies)
}

func replicasAreTheSameWithoutQueueProxies(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	crowds := map[string]*crowd{}
	for _, source := range []string{"queue-proxy", "envoy"} {
		name := "by-" + source
		s.create(newApp(t, name, asleep("sluice.dev/metrics-source", source, "autoscaling.knative.dev/target", "10",
			"autoscaling.knative.dev/target-burst-capacity", "0"), "MS", "300"))
		crowds[name] = s.newCrowd(name + ".default.localhost")
	}
	for _, c := range crowds {
		c.size(35) // five replicas at 70 % of 10
	}
	for _, c := range crowds {
		c.reaches(t, 1500) // which takes more than two windows
	}
	eventually(t, "the replicas are the same but for one", func() error {
		with, without := s.revision("by-queue-proxy-00001").Status.DesiredReplicas, s.revision("by-envoy-00001").Status.DesiredReplicas
		if with == nil || without == nil || *with < 4 || *with > 6 || *without < *with-1 || *without > *with+1 {
			return fmt.Errorf("%s with queue-proxies, %s without", number(with), number(without))
		}
		t.Logf("%d replicas with queue-proxies, %d without", *with, *without)
		return nil
	})
	for name, c := range crowds {
		if _, failed := c.end(); len(failed) > 0 {
			t.Errorf("%s: %d requests failed, the first: %s", name, len(failed), failed[0])
		}
		s.scaledTo(name+"-00001", 0)
	}
}

// Without queue-proxies only activators hold a limit. Two of them share a revision, and replicas are fewer than they are, or more.
func TestALimitHoldsWithoutQueueProxies(t *testing.T) {
	onEachGateway(t, aLimitHoldsWithoutQueueProxies)
}

func aLimitHoldsWithoutQueueProxies(t *testing.T, g gateway) {
	s := g.up(t, "--activator", "none")
	for range 2 {
		startActivator(t, s.socket(), address.Free(t)).ready()
	}
	for replicas, name := range map[int]string{1: "one", 3: "three"} {
		o := singles(t, name, "", replicas)
		delete(o.Spec.Template.Metadata.Annotations, "autoscaling.knative.dev/target-burst-capacity")
		o.Spec.Template.Metadata.Annotations["sluice.dev/metrics-source"] = "envoy"
		s.create(o)
		s.scaledTo(name+"-00001", replicas)
		s.withoutQueueProxy(name+"-00001", replicas)
		c := s.newCrowd(name + ".default.localhost")
		c.size(8)
		c.reaches(t, 400)
		if _, failed := c.end(); len(failed) > 0 {
			t.Errorf("%d replicas: %d requests failed, the first: %s", replicas, len(failed), failed[0])
		}
	}
}
