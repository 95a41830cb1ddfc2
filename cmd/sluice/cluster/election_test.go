package cluster

import (
	"context"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	return runCandidateIn(t, "default", pod, address)
}

func runCandidateIn(t *testing.T, namespace, pod, address string) *candidate {
	t.Helper()
	e, err := newElection(kubeapi.Start(t), namespace, pod, address, hclog.NewNullLogger())
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

// TestClocksThatAreAMinuteApartElectOneLeader has a leader on another machine, whose clock writes the times of the Lease.
func TestClocksThatAreAMinuteApartElectOneLeader(t *testing.T) {
	for name, apart := range map[string]time.Duration{"behind": -time.Minute, "ahead": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := kubernetes.NewForConfig(kubeapi.Start(t))
			if err != nil {
				t.Fatal(err)
			}
			namespace := "clock-" + name
			_, err = client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
				metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			leases := client.CoordinationV1().Leases(namespace)
			theirs := func() coordinationv1.LeaseSpec {
				now := metav1.NewMicroTime(time.Now().Add(apart))
				return coordinationv1.LeaseSpec{
					HolderIdentity: new(identity("other", "10.0.0.9:18000")), LeaseDurationSeconds: new(int32(leaseDuration.Seconds())),
					AcquireTime: &now, RenewTime: &now,
				}
			}
			lease, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}, Spec: theirs()},
				metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c := runCandidateIn(t, namespace, "candidate", "10.0.0.1:18000")
			c.await(t, leadership{leader: "10.0.0.9:18000"})
			// The other one renews the Lease for longer than it lasts. A test that was held up itself begins again.
			for began, last := time.Now(), time.Now(); time.Since(began) < leaseDuration+2*retryPeriod; last = time.Now() {
				if time.Since(last) > leaseDuration/2 {
					began = time.Now()
				}
				lease.Spec = theirs()
				if lease, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
					t.Fatalf("the Lease of a leader that renews it was taken: %v", err)
				}
				if c.now.get().own {
					t.Fatal("two replicas lead")
				}
				time.Sleep(retryPeriod / 4)
			}
			// Then it vanishes. Were the times in the Lease to count, the candidate would wait for a minute more, or would have led before.
			c.await(t, leadership{own: true, leader: "10.0.0.1:18000"})
		})
	}
}

func TestCertificatesAreGoodWhereTheClockIsAMinuteBehind(t *testing.T) {
	now := time.Now()
	authority, err := newAuthority(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AppendCertsFromPEM(authority.chain)
	leaf, err := issue(authority, "gateway", now)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := parse(leaf)
	if err != nil {
		t.Fatal(err)
	}
	for _, apart := range []time.Duration{-time.Minute, time.Minute} {
		if _, err := cert.Verify(x509.VerifyOptions{
			Roots: known, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: now.Add(apart),
		}); err != nil {
			t.Errorf("on a machine whose clock is %v off: %v", apart, err)
		}
	}
}
