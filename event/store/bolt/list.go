package bolt

import (
	"bytes"
	"context"
	"strings"

	"go.etcd.io/bbolt"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// List returns tasks by their IDs; see store.Store. It ends early with the context, since few of many tasks may match.
func (s *Store) List(ctx context.Context, q store.Query) ([]task.Task, error) {
	var tasks []task.Task
	err := s.view(func(tx *bbolt.Tx) error {
		live, kept := newReader(tx.Bucket(liveBucket), q.After), newReader(tx.Bucket(keptBucket), q.After)
		for len(tasks) < q.Limit && ctx.Err() == nil {
			next := live
			if live.id == nil || kept.id != nil && bytes.Compare(kept.id, live.id) < 0 {
				next = kept
			}
			if next.id == nil {
				return nil
			}
			t, err := decode(string(next.id), next.record)
			if err != nil {
				return err
			}
			if matches(&t, q) {
				tasks = append(tasks, t)
			}
			next.id, next.record = next.cursor.Next()
		}
		return ctx.Err()
	})
	return tasks, err
}

// reader goes through a bucket by ID.
type reader struct {
	cursor     *bbolt.Cursor
	id, record []byte
}

func newReader(b *bbolt.Bucket, after string) *reader {
	r := &reader{cursor: b.Cursor()}
	r.id, r.record = r.cursor.Seek([]byte(after))
	if after != "" && string(r.id) == after {
		r.id, r.record = r.cursor.Next()
	}
	return r
}

func matches(t *task.Task, q store.Query) bool {
	return (q.Revision == "" || t.Revision == q.Revision) && (q.State == "" || t.State == q.State) &&
		(q.Namespace == "" || strings.HasPrefix(t.Revision, q.Namespace+"/"))
}
