package external

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"sluice.dev/sluice/autoscaler/external/externalscaler"
	"sluice.dev/sluice/model"
)

// patience bounds how long a test waits for what must come.
const patience = 2 * time.Minute

// server is an external scaler whose answers a test sets.
type server struct {
	externalscaler.UnimplementedExternalScalerServer
	address string

	mu     sync.Mutex
	active func(context.Context, *externalscaler.ScaledObjectRef) (bool, error)
	specs  []*externalscaler.MetricSpec
	values []*externalscaler.MetricValue
	seen   *externalscaler.GetMetricsRequest
	push   chan bool
}

func (s *server) IsActive(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	s.mu.Lock()
	active := s.active
	s.mu.Unlock()
	if active == nil {
		return &externalscaler.IsActiveResponse{Result: true}, nil
	}
	yes, err := active(ctx, ref)
	return &externalscaler.IsActiveResponse{Result: yes}, err
}

func (s *server) GetMetricSpec(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: s.specs}, nil
}

func (s *server) GetMetrics(_ context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = r
	return &externalscaler.GetMetricsResponse{MetricValues: s.values}, nil
}

func (s *server) StreamIsActive(_ *externalscaler.ScaledObjectRef, to grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	for {
		select {
		case <-to.Context().Done():
			return nil
		case active := <-s.push:
			if err := to.Send(&externalscaler.IsActiveResponse{Result: active}); err != nil {
				return err
			}
		}
	}
}

func (s *server) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// says has the server answer with one metric.
func (s *server) says(value, target float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.specs = []*externalscaler.MetricSpec{{MetricName: "depth", TargetSizeFloat: target}}
	s.values = []*externalscaler.MetricValue{{MetricName: "depth", MetricValueFloat: value}}
}

func (s *server) isActive(yes bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = func(context.Context, *externalscaler.ScaledObjectRef) (bool, error) { return yes, err }
}

func serve(t *testing.T, options ...grpc.ServerOption) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: listener.Addr().String(), push: make(chan bool, 1)}
	on := grpc.NewServer(options...)
	externalscaler.RegisterExternalScalerServer(on, s)
	go func() { _ = on.Serve(listener) }()
	t.Cleanup(on.Stop)
	return s
}

// board collects what a Runner proposes and reports.
type board struct {
	*Runner
	t *testing.T

	mu        sync.Mutex
	changed   chan struct{}
	proposals map[string]model.Proposal // by revision and signal
	withdrawn []string
	status    map[string]model.ScalerStatus
}

func run(t *testing.T) *board {
	t.Helper()
	b := &board{t: t, changed: make(chan struct{}, 1), proposals: map[string]model.Proposal{}, status: map[string]model.ScalerStatus{}}
	note := func(do func()) {
		b.mu.Lock()
		do()
		b.mu.Unlock()
		select {
		case b.changed <- struct{}{}:
		default:
		}
	}
	b.Runner = New(Options{
		Loopback: true,
		Propose: func(key model.Key, uid string, p model.Proposal) {
			note(func() { b.proposals[key.Name+"/"+uid+" "+p.Signal] = p })
		},
		Withdraw: func(key model.Key, uid, signal string) {
			note(func() {
				delete(b.proposals, key.Name+"/"+uid+" "+signal)
				b.withdrawn = append(b.withdrawn, key.Name+"/"+uid+" "+signal)
			})
		},
		Status: func(key model.Key, s model.ScalerStatus) { note(func() { b.status[key.Name] = s }) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// await waits until what is on the board is right.
func (b *board) await(what string, right func() bool) {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		ok := right()
		b.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-b.changed:
		case <-deadline:
			b.mu.Lock()
			defer b.mu.Unlock()
			b.t.Fatalf("%s did not come; there are proposals %+v and statuses %+v", what, b.proposals, b.status)
		}
	}
}

func (b *board) awaitCount(want int) model.Proposal {
	b.t.Helper()
	var got model.Proposal
	b.await(fmt.Sprintf("a proposal of %d", want), func() bool {
		p, ok := b.proposals["hello-00001/1 scaler/queue"]
		got = p
		return ok && p.Replicas == want
	})
	return got
}

func (b *board) awaitProblem(part string) model.ScalerStatus {
	b.t.Helper()
	var got model.ScalerStatus
	b.await("the problem "+part, func() bool { got = b.status["queue"]; return strings.Contains(got.Problem, part) })
	return got
}

var revision = model.Named{Revision: model.Key{Namespace: "default", Name: "hello-00001"}, UID: "1"}

// queue is a Scaler that asks the server often.
func queue(s *server) model.Scaler {
	return model.Scaler{
		Key: model.Key{Namespace: "default", Name: "queue"}, Type: model.AverageValue, Every: 20 * time.Millisecond, Most: 100,
		External: &model.ExternalScaler{
			Address: s.address, Metadata: map[string]string{"list": "jobs"}, TLS: model.ClientTLS{Plaintext: true},
		},
		Revisions: []model.Named{revision},
	}
}

func TestReplicasFollowAnExternalScaler(t *testing.T) {
	s, b := serve(t), run(t)
	s.says(12, 5)
	b.Set(queue(s))
	if got := b.awaitCount(3); got.Why != "depth is 12 at a target of 5 per replica" {
		t.Errorf("3 replicas, since %s", got.Why)
	}
	s.mu.Lock()
	if ref := s.seen.GetScaledObjectRef(); s.seen.GetMetricName() != "depth" || ref.GetName() != "queue" ||
		ref.GetNamespace() != "default" ||
		ref.GetScalerMetadata()["list"] != "jobs" {
		t.Errorf("the scaler was asked for %v", s.seen)
	}
	s.mu.Unlock()
	s.says(40, 10) // another target, too
	b.awaitCount(4)
	s.isActive(false, nil)
	b.awaitCount(0)
	other := queue(s)
	other.Target = 20
	s.isActive(true, nil)
	b.Set(other)
	b.awaitCount(2)
	b.await("a status", func() bool {
		got := b.status["queue"]
		return got.Known && got.Active && got.Replicas == 2 && got.Problem == ""
	})
}

func TestWholeNumbersCountWhereThereAreNoFractions(t *testing.T) {
	s, b := serve(t), run(t)
	s.specs = []*externalscaler.MetricSpec{{MetricName: "depth", TargetSize: 5}}
	s.values = []*externalscaler.MetricValue{{MetricName: "another", MetricValue: 90}, {MetricName: "depth", MetricValue: 11}}
	b.Set(queue(s))
	b.awaitCount(3)
}

func TestAPushWakesWithoutAQuestion(t *testing.T) {
	s, b := serve(t), run(t)
	s.isActive(false, nil)
	scaler := queue(s)
	scaler.Every = time.Hour
	b.Set(scaler)
	b.awaitCount(0)
	s.says(30, 10)
	answered := make(chan struct{})
	s.mu.Lock()
	s.active = func(ctx context.Context, _ *externalscaler.ScaledObjectRef) (bool, error) {
		<-answered // so the push alone has woken it
		return true, nil
	}
	s.mu.Unlock()
	s.push <- true
	b.awaitCount(1)
	close(answered)
	b.awaitCount(3)
	s.push <- false
	b.awaitCount(0)
}

func TestALargerCountIsHeld(t *testing.T) {
	s, b := serve(t), run(t)
	s.says(30, 10)
	scaler := queue(s)
	scaler.Hold = time.Hour
	b.Set(scaler)
	b.awaitCount(3)
	s.isActive(false, nil)
	b.await("an inactive scaler", func() bool { return b.status["queue"].Known && !b.status["queue"].Active })
	if got := b.awaitCount(3); !strings.Contains(got.Why, "within the last 1h0m0s") {
		t.Errorf("3 replicas, since %s", got.Why)
	}
}

// Each bad answer is a sentence of the status, and what runs stays.
func TestBadAnswersHaveNoCount(t *testing.T) {
	many := make([]*externalscaler.MetricSpec, 33)
	for i := range many {
		many[i] = &externalscaler.MetricSpec{MetricName: fmt.Sprint("m", i), TargetSize: 1}
	}
	for name, c := range map[string]struct {
		do   func(s *server)
		want string
	}{
		"NaN":          {func(s *server) { s.says(math.NaN(), 5) }, "the value of depth is NaN"},
		"negative":     {func(s *server) { s.says(-1, 5) }, "the value of depth is -1"},
		"infinite":     {func(s *server) { s.says(math.Inf(1), 5) }, "the value of depth is +Inf"},
		"no target":    {func(s *server) { s.says(1, 0) }, "the target of depth is 0"},
		"many metrics": {func(s *server) { s.set(func() { s.specs = many }) }, "returned 33 metrics, want 32 at most"},
		"no name": {func(s *server) { s.set(func() { s.specs = []*externalscaler.MetricSpec{{TargetSize: 1}} }) },
			"a name of 0 bytes"},
		"other values": {func(s *server) { s.set(func() { s.values = nil }) }, "returned 0 values, and none for depth"},
		"an error":     {func(s *server) { s.isActive(true, errors.New("no such\nlist")) }, `IsActive failed with Unknown: no such\nlist`},
		"a long error": {func(s *server) { s.isActive(true, errors.New(strings.Repeat("x", 9000))) }, "xxx…"},
		"a huge message": {func(s *server) {
			s.set(func() {
				s.specs = []*externalscaler.MetricSpec{{MetricName: strings.Repeat("x", 2<<20), TargetSize: 1}}
			})
		}, "answered too much"},
		"a slow answer": {func(s *server) {
			s.set(func() {
				s.active = func(ctx context.Context, _ *externalscaler.ScaledObjectRef) (bool, error) {
					<-ctx.Done()
					return false, ctx.Err()
				}
			})
		}, "IsActive did not answer within 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, b := serve(t), run(t)
			s.says(10, 5)
			b.Set(queue(s))
			b.awaitCount(2)
			c.do(s)
			b.awaitProblem(c.want)
			if p := b.awaitCount(model.UnknownReplicas); !strings.Contains(p.Why, c.want) {
				t.Errorf("the proposal's why is %q, want %q", p.Why, c.want)
			}
			s.set(func() { s.active = nil })
			s.says(20, 5)
			b.awaitCount(4) // it recovers
		})
	}
}

func TestAHugeValueIsBounded(t *testing.T) {
	s, b := serve(t), run(t)
	s.says(1e18, 1)
	b.Set(queue(s))
	if got := b.awaitCount(100); !strings.Contains(got.Why, "maxReplicas allows no more") {
		t.Errorf("100 replicas, since %s", got.Why)
	}
}

func TestTheFallbackCountsAfterFailures(t *testing.T) {
	s, b := serve(t), run(t)
	s.says(10, 5)
	scaler := queue(s)
	scaler.Fallback = model.Fallback{Failures: 3, Replicas: 7}
	b.Set(scaler)
	b.awaitCount(2)
	s.isActive(true, errors.New("gone"))
	b.awaitCount(model.UnknownReplicas)
	const fallback = "hello-00001/1 scaler/queue/fallback"
	b.await("the fallback", func() bool { return b.proposals[fallback].Replicas == 7 })
	b.await("its status", func() bool { got := b.status["queue"]; return got.FellBack && got.Failures >= 3 })
	s.isActive(true, nil)
	b.awaitCount(2)
	b.await("the end of the fallback", func() bool { _, there := b.proposals[fallback]; return !there && !b.status["queue"].FellBack })
}

func TestNobodyAtTheAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, b := &server{address: listener.Addr().String()}, run(t)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	b.Set(queue(s))
	if got := b.awaitProblem("connection refused"); got.Known || got.Replicas != model.UnknownReplicas {
		t.Errorf("status %+v", got)
	}
	b.awaitCount(model.UnknownReplicas)
}

func TestRevisionsComeAndGo(t *testing.T) {
	s, b := serve(t), run(t)
	s.says(10, 5)
	scaler := queue(s)
	scaler.Every = time.Hour
	b.Set(scaler)
	b.awaitCount(2)
	second := model.Named{Revision: model.Key{Namespace: "default", Name: "hello-00002"}, UID: "2"}
	scaler.Revisions = []model.Named{second}
	b.Set(scaler)
	b.await("the second revision without a question", func() bool { return b.proposals["hello-00002/2 scaler/queue"].Replicas == 2 })
	b.await("the end of the first", func() bool { return slices.Contains(b.withdrawn, "hello-00001/1 scaler/queue") })
	b.Remove(scaler.Key)
	b.await("the end of the second", func() bool { return len(b.proposals) == 0 })
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b.connections.mu.Lock()
		open := len(b.connections.all)
		b.connections.mu.Unlock()
		if open == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d endpoints are still connected", open)
		}
	}
}

func TestValueFollowsTheReadyReplicas(t *testing.T) {
	s, b := serve(t), run(t)
	s.says(20, 10)
	scaler := queue(s)
	scaler.Type = model.Value
	b.Running(model.WorkloadStatus{Revision: revision.Revision, UID: revision.UID, Ready: make([]model.Endpoint, 3)})
	b.Set(scaler)
	b.awaitCount(6)
	b.Running(model.WorkloadStatus{Revision: revision.Revision, UID: revision.UID})
	b.awaitCount(2)
}

// A thousand scalers share a server, and one has a server that does not answer: they all have their counts while it is asked.
func TestASlowScalerDelaysNoOther(t *testing.T) {
	fast, slow, b := serve(t), serve(t), run(t)
	fast.says(10, 5)
	asked, release := make(chan struct{}), make(chan struct{})
	slow.active = func(context.Context, *externalscaler.ScaledObjectRef) (bool, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-release
		return true, nil
	}
	defer close(release)
	b.Set(queue(slow))
	<-asked
	const others = 999
	for i := range others {
		scaler := queue(fast)
		scaler.Key.Name, scaler.Every = fmt.Sprint("other-", i), time.Hour
		b.Set(scaler)
	}
	b.await("the count of every other", func() bool {
		n := 0
		for _, p := range b.proposals {
			if p.Replicas == 2 {
				n++
			}
		}
		return n == others
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.proposals["hello-00001/1 scaler/queue"]; p.Replicas != model.UnknownReplicas {
		t.Errorf("the slow one proposes %d", p.Replicas)
	}
	b.connections.mu.Lock()
	defer b.connections.mu.Unlock()
	if n, want := len(b.connections.all[endpoint{fast.address, model.ClientTLS{Plaintext: true}}]), 20; n != want {
		t.Errorf("%d connections for %d scalers of one server, want %d", n, others, want)
	}
}

func TestAddressesThatAreNotDialled(t *testing.T) {
	for address, want := range map[string]string{
		"169.254.169.254:80": "link-local", "[fe80::1]:80": "link-local", "[::ffff:169.254.169.254]:80": "link-local",
		"224.0.0.1:80": "multicast", "0.0.0.0:80": "no address", "[::]:80": "no address",
		"127.0.0.1:80": "the controller itself", "[::1]:80": "the controller itself", "10.0.0.1:80": "", "example.com:80": "no IP address",
	} {
		err := dialer{}.control("tcp", address, nil)
		if got := fmt.Sprint(cmp.Or(err, errors.New(""))); !strings.Contains(got, want) || want == "" && err != nil {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if err := (dialer{loopback: true}).control("tcp", "127.0.0.1:80", nil); err != nil {
		t.Error(err)
	}
	b := New(Options{Propose: func(model.Key, string, model.Proposal) {}, Withdraw: func(model.Key, string, string) {}})
	conn, done, err := b.connections.get(endpoint{"127.0.0.1:1", model.ClientTLS{Plaintext: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	_, err = externalscaler.NewExternalScalerClient(conn).IsActive(t.Context(), &externalscaler.ScaledObjectRef{})
	if err == nil || !strings.Contains(err.Error(), "may not be dialled") {
		t.Errorf("an address of the controller itself was dialled: %v", err)
	}
}
