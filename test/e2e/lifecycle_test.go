package e2e

import (
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestServiceOfTheExamplesLives(t *testing.T) {
	s := newSpace(t)
	s.apply("hello/service.yaml")
	o := s.awaitReady("hello")
	if want := "http://" + s.host("hello"); o.Status.URL != want {
		t.Errorf("its URL is %q, want %q", o.Status.URL, want)
	}
	s.awaitAnswer(s.host("hello"), "World")

	first := o.Status.LatestReadyRevisionName
	s.deploy(service{name: "hello", target: "Moon"})
	s.awaitAnswer(s.host("hello"), "Moon")
	if o := s.awaitReady("hello"); o.Status.LatestReadyRevisionName == first {
		t.Errorf("the change made no revision: the latest is still %s", first)
	}

	if err := cluster.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.await("everything of the Service to be deleted", func() (any, bool) {
		var deployments appsv1.DeploymentList
		var revisions servingv1.RevisionList
		if err := cluster.List(t.Context(), &deployments, client.InNamespace(s.name)); err != nil {
			t.Fatal(err)
		}
		if err := cluster.List(t.Context(), &revisions, client.InNamespace(s.name)); err != nil {
			t.Fatal(err)
		}
		n := len(deployments.Items) + len(revisions.Items) + s.replicas("hello")
		return n, n == 0
	})
	if a := s.ask(s.host("hello"), "/"); a.status != http.StatusNotFound {
		t.Errorf("the host of the deleted Service answers %v, want 404", a)
	}
}

func TestCanaryOfTheExamplesSplits(t *testing.T) {
	s := newSpace(t)
	s.apply("canary/1-blue.yaml")
	s.awaitReady("hello")
	s.awaitAnswer(s.host("hello"), "blue")
	s.apply("canary/2-green.yaml")
	s.awaitReady("hello")

	s.awaitAnswer(s.host("blue-hello"), "blue")
	s.awaitAnswer(s.host("green-hello"), "green")
	const requests = 1000
	green := 0
	for range requests {
		a := s.ask(s.host("hello"), "/")
		if a.status != http.StatusOK {
			t.Fatalf("got %v", a)
		}
		if strings.Contains(a.body, "green") {
			green++
		}
	}
	// Six standard deviations of the binomial distribution are 87.
	if green < 300-87 || green > 300+87 {
		t.Errorf("%d of %d requests went to green, want 30 percent", green, requests)
	}
}

func TestGRPCServiceOfTheExamplesIsReady(t *testing.T) {
	s := newSpace(t)
	s.apply("grpc/1-blue.yaml")
	s.awaitReady("greeter")
	s.apply("grpc/2-green.yaml")
	s.awaitReady("greeter")
}

func TestPrivateServiceIsNotOutside(t *testing.T) {
	s := newSpace(t)
	s.deploy(service{name: "inner", labels: map[string]string{"networking.knative.dev/visibility": "cluster-local"}})
	o := s.awaitReady("inner")
	local := "inner." + s.name + ".svc.cluster.local"
	if o.Status.URL != "http://"+local {
		t.Errorf("its URL is %q, want http://%s", o.Status.URL, local)
	}
	for _, host := range []string{s.host("inner"), local} {
		if a := s.ask(host, "/"); a.status != http.StatusNotFound {
			t.Errorf("%s answers %v from outside, want 404", host, a)
		}
	}
	inside := localGateway(t)
	s.await("an answer of "+local, func() (any, bool) {
		a := ask(t.Context(), inside, local, "/")
		return a, a.status == http.StatusOK
	})
}
