package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/storetest"
	"sluice.dev/sluice/event/task"
	"sluice.dev/sluice/test/authority"
)

// startServer starts a real server on a free port, which keeps its data in a folder.
func startServer(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	o.Host, o.JetStream, o.NoSigs, o.NoLog = "127.0.0.1", true, true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not take connections")
	}
	return s
}

func openStore(t testing.TB, url string, limits store.Limits) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{URL: url, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, limits store.Limits) *storetest.Harness {
		url := startServer(t, server.Options{}).ClientURL()
		s := openStore(t, url, limits)
		return &storetest.Harness{Store: s, Reopen: func() store.Store {
			s.conn.Close() // nothing is written any more, and nothing is said
			return openStore(t, url, limits)
		}}
	})
}

func newTask(t testing.TB) task.Task {
	t.Helper()
	return storetest.Make(t, "default/hello", time.Now().Round(time.Millisecond))
}

// TestManyActivatorsShareTasks has several stores run all tasks of one bucket, each task once.
func TestManyActivatorsShareTasks(t *testing.T) {
	const stores, count = 3, 100
	url := startServer(t, server.Options{}).ClientURL()
	runs := make(map[string]int)
	var mu sync.Mutex
	var done atomic.Int32
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	adder := openStore(t, url, storetest.Limits)
	for range count {
		if _, _, err := adder.Add(ctx, newTask(t), task.Request{Method: "POST"}); err != nil {
			t.Fatal(err)
		}
	}
	run := func(s *Store, owner string) error {
		for done.Load() < count {
			due, err := s.Due(ctx, time.Now(), func(string) int { return 10 })
			if err != nil {
				return err
			}
			for _, k := range due {
				_, err := s.Change(ctx, k.ID, nil, func(k *task.Task) error {
					return k.Begin(time.Now(), task.Lease{Owner: owner, Until: time.Now().Add(time.Minute)})
				})
				if errors.Is(err, task.ErrNotDue) {
					continue
				}
				if err != nil {
					return err
				}
				mu.Lock()
				runs[k.ID]++
				mu.Unlock()
				r := &task.Result{Status: 200}
				if _, err := s.Change(ctx, k.ID, r, func(k *task.Task) error {
					return k.Finish(task.Outcome{Now: time.Now(), Owner: owner, Result: r})
				}); err != nil {
					return err
				}
				done.Add(1)
			}
		}
		return nil
	}
	var all sync.WaitGroup
	for i := range stores {
		s := openStore(t, url, storetest.Limits)
		all.Go(func() {
			if err := run(s, fmt.Sprint("runner ", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for id, n := range runs {
		if n != 1 {
			t.Errorf("the task %s ran %d times", id, n)
		}
	}
	if len(runs) != count {
		t.Errorf("%d tasks ran, want %d", len(runs), count)
	}
}

// TestAnotherProcessSeesATask waits for the watch of one store to bring what another has added.
func TestAnotherProcessSeesATask(t *testing.T) {
	url := startServer(t, server.Options{}).ClientURL()
	here, there := openStore(t, url, storetest.Limits), openStore(t, url, storetest.Limits)
	k := newTask(t)
	if _, _, err := here.Add(t.Context(), k, task.Request{}); err != nil {
		t.Fatal(err)
	}
	for there.Depths()[k.Revision].Waiting != 1 {
		<-there.Changed()
	}
	if due, err := there.Due(t.Context(), time.Now().Add(time.Second), func(string) int { return 1 }); err != nil || len(due) != 1 {
		t.Errorf("due are %v, %v", due, err)
	}
}

// TestClaimIsAPromise ends a process between its claim of a Key and its task: the next one with the Key records the task of the first.
func TestClaimIsAPromise(t *testing.T) {
	s := openStore(t, startServer(t, server.Options{}).ClientURL(), storetest.Limits)
	first := newTask(t)
	first.Key = task.Key("default", "shop", "1")
	body := encode(task.Request{Method: "POST", Body: []byte("first")})
	if _, err := s.bucket.Put(t.Context(), requestKey(first.ID), body); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.claim(t.Context(), &record{Task: first, Request: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	second := newTask(t)
	second.Key = first.Key
	got, duplicate, err := s.Add(t.Context(), second, task.Request{})
	if err != nil || !duplicate || got.ID != first.ID {
		t.Fatalf("%+v, %v, %v", got, duplicate, err)
	}
	if r, err := s.Request(t.Context(), first.ID); err != nil || string(r.Body) != "first" {
		t.Errorf("the request is %+v, %v", r, err)
	}
	if _, err := s.Get(t.Context(), second.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the second task: %v", err)
	}
}

// TestAServerThatIsKilled starts the server again on its folder: everything that was accepted is there, and the store goes on.
func TestAServerThatIsKilled(t *testing.T) {
	folder := t.TempDir()
	first := startServer(t, server.Options{StoreDir: folder, SyncAlways: true})
	s := openStore(t, first.ClientURL(), storetest.Limits)
	port := first.Addr().String()[strings.LastIndex(first.Addr().String(), ":")+1:]
	var ids []string
	for range 20 {
		k, _, err := s.Add(t.Context(), newTask(t), task.Request{Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, k.ID)
	}
	first.Shutdown()
	first.WaitForShutdown()
	again := server.Options{StoreDir: folder, SyncAlways: true}
	if _, err := fmt.Sscan(port, &again.Port); err != nil {
		t.Fatal(err)
	}
	startServer(t, again)
	for !s.conn.IsConnected() {
		time.Sleep(10 * time.Millisecond)
	}
	for _, id := range ids {
		if _, err := s.Request(t.Context(), id); err != nil {
			t.Errorf("the request of %s: %v", id, err)
		}
	}
	k := newTask(t)
	if _, _, err := s.Add(t.Context(), k, task.Request{}); err != nil {
		t.Errorf("adding after the restart: %v", err)
	}
	if got := s.Usage().Open; got != 21 {
		t.Errorf("%d tasks are open, want 21", got)
	}
}

// TestAServerWithoutRoom refuses new tasks with ErrFull where the account of the server has no more room.
func TestAServerWithoutRoom(t *testing.T) {
	s := openStore(t, startServer(t, server.Options{JetStreamMaxStore: 1 << 20}).ClientURL(), storetest.Limits)
	for range 100 {
		if _, _, err := s.Add(t.Context(), newTask(t), task.Request{Body: make([]byte, 50_000)}); err != nil {
			if !errors.Is(err, store.ErrFull) {
				t.Errorf("without room: %v", err)
			}
			return
		}
	}
	t.Error("the server has more room than it may")
}

func TestOptionsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		options Options
		says    string
	}{
		{Options{URL: "nats://nats.example.com:4222"}, "use tls://"},
		{Options{URL: "nats://127.0.0.1:1,nats://10.0.0.1:4222"}, "use tls://"},
		{Options{URL: "http://127.0.0.1"}, "want nats://"},
		{Options{URL: "nats://user:secret@example.com:4222"}, "xxxxx"},
		{Options{URL: "nats://127.0.0.1:1", Bucket: "a.b"}, "the bucket"},
		{Options{URL: "nats://127.0.0.1:1", Replicas: 9}, "9 replicas"},
		{Options{URL: "nats://127.0.0.1:1", Certificate: "a"}, "needs its key"},
		{Options{URL: "nats://127.0.0.1:1", Credentials: "/missing"}, "/missing"},
		{Options{URL: "nats://127.0.0.1:1"}, "connecting to JetStream"},
	} {
		test.options.Limits = storetest.Limits
		_, err := Open(t.Context(), test.options)
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v, want %q", test.options, err, test.says)
		}
	}
}

// BenchmarkAccept adds tasks, beside as many plain publishes to JetStream with the same bytes; all with a server that synchronises each.
func BenchmarkAccept(b *testing.B) {
	for _, concurrency := range []int{1, 16, 256} {
		srv := startServer(b, server.Options{SyncAlways: true})
		s := openStore(b, srv.ClientURL(), store.DefaultLimits)
		request := task.Request{Method: "POST", Body: make([]byte, 1000)}
		b.Run(fmt.Sprintf("store/%d", concurrency), func(b *testing.B) {
			parallel(b, concurrency, func() error {
				id, err := task.NewID(time.Now(), rand.Reader)
				if err != nil {
					return err
				}
				_, _, err = s.Add(context.Background(), task.Task{ID: id, Revision: "default/hello", State: task.Waiting}, request)
				return err
			})
		})
		c, err := nats.Connect(srv.ClientURL())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		js, err := natsjs.New(c)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := js.CreateStream(context.Background(), natsjs.StreamConfig{Name: "plain", Subjects: []string{"plain"}}); err != nil {
			b.Fatal(err)
		}
		payload := encode(request)
		b.Run(fmt.Sprintf("publish/%d", concurrency), func(b *testing.B) {
			parallel(b, concurrency, func() error {
				_, err := js.Publish(context.Background(), "plain", payload)
				return err
			})
		})
	}
}

// parallel does something b.N times, so many at once.
func parallel(b *testing.B, concurrency int, do func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	b.ResetTimer()
	for range concurrency {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// TestAServerWithTLS has server and store prove who they are by certificates.
func TestAServerWithTLS(t *testing.T) {
	ca := authority.New(t)
	ours, theirs := ca.Issue("client", "sluice"), ca.Issue("server", "127.0.0.1")
	config, err := server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: theirs.Chain, KeyFile: theirs.Key, CaFile: ca.File, Verify: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := startServer(t, server.Options{TLS: true, TLSVerify: true, TLSConfig: config})
	o := Options{URL: "tls://" + srv.Addr().String(), Limits: storetest.Limits, Authorities: ca.File}
	if _, err := Open(t.Context(), o); err == nil {
		t.Error("a client without a certificate has opened the store")
	}
	o.Certificate, o.Key = ours.Chain, ours.Key
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Add(t.Context(), newTask(t), task.Request{}); err != nil {
		t.Error(err)
	}
}
