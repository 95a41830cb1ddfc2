package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of the Lease. Another replica takes over within leaseDuration and retryPeriod after the leader has vanished, and at once when
// it has ended in order.
const (
	leaseDuration = 10 * time.Second
	renewDeadline = 8 * time.Second
	retryPeriod   = 2 * time.Second
	leaseName     = "sluice-controller"
)

// leadership is who leads.
type leadership struct {
	own    bool
	leader string // address of the leader's front when it is another replica
}

// election finds out who leads, by a Lease.
type election struct {
	log  hclog.Logger
	lock resourcelock.Interface
}

// identity names a replica in the Lease: by its pod, which is unique, and by its address.
func identity(pod, address string) string { return pod + "_" + address }

// addressOf returns the address in an identity.
func addressOf(identity string) string { return identity[strings.LastIndexByte(identity, '_')+1:] }

func newElection(config *rest.Config, namespace, pod, address string, log hclog.Logger) (*election, error) {
	config = rest.CopyConfig(config)
	config.Timeout = renewDeadline / 2 // one slow call must not cost the lease
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return &election{log: log, lock: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaseName},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity(pod, address)},
	}}, nil
}

// run reports who leads, whenever that changes, until the context ends. Then it gives the Lease up.
//
// A leader that cannot renew its Lease goes on as long as it does not see another holder: while the API server is away, nobody can take
// the Lease, and what is known must still be served.
func (e *election) run(ctx context.Context, report func(leadership)) error {
	defer e.release()
	for ctx.Err() == nil {
		if err := e.term(ctx, report); err != nil {
			return err
		}
		if ctx.Err() == nil {
			e.log.Warn("the lease could not be renewed in time: trying to get it again", "lease", leaseName)
		}
	}
	return nil
}

// release gives the Lease up if this replica has it, so that another one can take over at once.
func (e *election) release() {
	ctx, cancel := context.WithTimeout(context.Background(), renewDeadline/2)
	defer cancel()
	record, _, err := e.lock.Get(ctx)
	if err != nil || record.HolderIdentity != e.lock.Identity() {
		return // it expires by itself
	}
	record.HolderIdentity, record.LeaseDurationSeconds = "", 1
	if err := e.lock.Update(ctx, *record); err != nil {
		e.log.Warn("cannot give the lease up: the next leader waits until it expires", "after", leaseDuration, "error", err)
	}
}

// term runs until this replica loses the Lease that it got, or the context ends.
func (e *election) term(ctx context.Context, report func(leadership)) error {
	var elector *leaderelection.LeaderElector
	var mu sync.Mutex
	// The callbacks run in goroutines of their own, in any order: each reports what holds now.
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		report(leadership{own: elector.IsLeader(), leader: addressOf(elector.GetLeader())})
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: e.lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Name: leaseName, // ReleaseOnCancel would also give up a Lease that was not renewed in time, so that leaders change under load
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { look() },
			OnStoppedLeading: func() {},
			OnNewLeader:      func(string) { look() },
		},
	})
	if err != nil {
		return fmt.Errorf("preparing the election: %w", err)
	}
	elector.Run(ctx)
	return nil
}
