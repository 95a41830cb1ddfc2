package cluster

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"k8s.io/client-go/kubernetes"

	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

// candidate is a replica that takes part in an election.
type candidate struct {
	now   *latest[leadership]
	leave func()
}

func runCandidate(t *testing.T, pod, address string) *candidate {
	t.Helper()
	e, err := newElection(kubeapi.Start(t), "default", pod, address, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	c := &candidate{now: newLatest[leadership](), leave: func() {
		cancel()
		ended.Wait()
	}}
	ended.Go(func() {
		if err := e.run(ctx, c.now.put); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.leave)
	return c
}

// await waits for a state of the election.
func (c *candidate) await(t *testing.T, want leadership) {
	t.Helper()
	timeout := time.After(patience)
	for c.now.get() != want {
		select {
		case <-c.now.changed:
		case <-timeout:
			t.Fatalf("got %+v, want %+v", c.now.get(), want)
		}
	}
}

func TestOneReplicaLeadsAndTheNextTakesOver(t *testing.T) {
	first := runCandidate(t, "first", "10.0.0.1:18000")
	first.await(t, leadership{own: true, leader: "10.0.0.1:18000"})
	second := runCandidate(t, "second", "10.0.0.2:18000")
	second.await(t, leadership{leader: "10.0.0.1:18000"})
	first.leave()
	second.await(t, leadership{own: true, leader: "10.0.0.2:18000"})
}

func TestReplicasAgreeOnTheAuthorityAndTheToken(t *testing.T) {
	client, err := kubernetes.NewForConfig(kubeapi.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	const replicas = 4
	tokens, chains := make([]string, replicas), make([]string, replicas)
	var all sync.WaitGroup
	for i := range replicas {
		s := &secrets{client: client.CoreV1().Secrets("default"), log: hclog.NewNullLogger(), namespace: "default", dir: t.TempDir()}
		all.Go(func() {
			if err := s.certificates(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.issueAll(t.Context()); err != nil {
				t.Error(err)
			}
			var err error
			if tokens[i], err = s.token(t.Context()); err != nil {
				t.Error(err)
			}
			chains[i] = string(s.read(authorityKey))
		})
	}
	all.Wait()
	for i := range replicas {
		if tokens[i] == "" || tokens[i] != tokens[0] {
			t.Errorf("replica %d has the token %q, the first one %q", i, tokens[i], tokens[0])
		}
		if chains[i] == "" || chains[i] != chains[0] {
			t.Errorf("replica %d has another authority than the first one", i)
		}
	}
}
