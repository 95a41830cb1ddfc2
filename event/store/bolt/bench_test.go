package bolt_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/bolt"
	"sluice.dev/sluice/event/task"
)

// parallel runs b.N operations by a number of goroutines.
func parallel(b *testing.B, n int, do func(i int) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

var concurrencies = []int{1, 16, 256}

// BenchmarkPlain is what the store is compared with: one write of a record of the same size to bbolt in a transaction of its own, each
// synchronised to disk, by the same number of goroutines.
func BenchmarkPlain(b *testing.B) {
	for _, n := range concurrencies {
		b.Run("concurrency="+strconv.Itoa(n), func(b *testing.B) {
			db, err := bbolt.Open(filepath.Join(b.TempDir(), "plain"), 0o600, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("a")); return err }); err != nil {
				b.Fatal(err)
			}
			record := make([]byte, 1024)
			parallel(b, n, func(i int) error {
				return db.Update(func(tx *bbolt.Tx) error {
					return tx.Bucket([]byte("a")).Put(fmt.Appendf(nil, "%020d", i), record)
				})
			})
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range concurrencies {
		b.Run("concurrency="+strconv.Itoa(n), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "tasks"), plenty)
			parallel(b, n, func(int) error { _, err := addOne(b, s); return err })
		})
	}
}

// BenchmarkFinish has the three writes of a task: it is added, begun and finished.
func BenchmarkFinish(b *testing.B) {
	for _, n := range concurrencies {
		b.Run("concurrency="+strconv.Itoa(n), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "tasks"), plenty)
			parallel(b, n, func(int) error {
				k, err := addOne(b, s)
				if err != nil {
					return err
				}
				r := &task.Result{Status: 200, Body: make([]byte, 512)}
				_, begun := s.Change(b.Context(), k.ID, nil, func(k *task.Task) error {
					return k.Begin(k.Due, task.Lease{Owner: "a", Until: k.Due.Add(time.Minute)})
				})
				_, done := s.Change(b.Context(), k.ID, r, func(k *task.Task) error {
					return k.Finish(task.Outcome{Now: k.Accepted, Owner: "a", Result: r})
				})
				return errors.Join(begun, done)
			})
		})
	}
}

var plenty = store.Limits{Open: 1 << 30, OpenOfRevision: 1 << 30, Bytes: 1 << 40, ResultBytes: 1 << 40, Retention: time.Hour}

func addOne(b *testing.B, s *bolt.Store) (task.Task, error) {
	at := time.Now()
	id, err := task.NewID(at, rand.Reader)
	if err != nil {
		return task.Task{}, err
	}
	k := task.Task{ID: id, Revision: "default/hello", Accepted: at, Due: at, State: task.Waiting, Retry: task.DefaultRetry}
	k, _, err = s.Add(b.Context(), k, task.Request{Method: "POST", Target: "/", Body: make([]byte, 512)})
	return k, err
}
