package bolt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// errDamaged says that the file has something that this package does not write.
var errDamaged = errors.New("the task store has a damaged record")

func encode(t task.Task) []byte { return marshal(t) }

// marshal encodes values whose types cannot fail.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err))
	}
	return b
}

func decode(id string, b []byte) (t task.Task, err error) {
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("%w: task %s: %w", errDamaged, id, err)
	}
	return t, nil
}

// Requests and results are stored as the length of their head, their head as JSON, and their body as it is.
const headLength = 4

func withBody(head any, body []byte) []byte {
	h := marshal(head)
	b := binary.BigEndian.AppendUint32(make([]byte, 0, headLength+len(h)+len(body)), uint32(len(h))) //nolint:gosec // headers are bounded
	return append(append(b, h...), body...)
}

// takeBody decodes the head, and returns a copy of the body. Nothing is nil: there is no such record.
func takeBody(b []byte, head any) ([]byte, error) {
	if b == nil {
		return nil, store.ErrNotFound
	}
	if len(b) < headLength || uint64(len(b)) < headLength+uint64(binary.BigEndian.Uint32(b)) {
		return nil, errDamaged
	}
	end := headLength + int(binary.BigEndian.Uint32(b))
	if err := json.Unmarshal(b[headLength:end], head); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if len(b) == end {
		return nil, nil
	}
	return append([]byte(nil), b[end:]...), nil
}

func encodeRequest(r *task.Request) []byte {
	head := *r
	head.Body = nil
	return withBody(head, r.Body)
}

func decodeRequest(b []byte) (r task.Request, err error) {
	r.Body, err = takeBody(b, &r)
	return r, err
}

func encodeResult(r *task.Result) []byte {
	head := *r
	head.Body = nil
	return withBody(head, r.Body)
}

func decodeResult(b []byte) (r task.Result, err error) {
	r.Body, err = takeBody(b, &r)
	return r, err
}

func encodeNumber(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) } //nolint:gosec // number reads it back

func number(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // as encodeNumber has made it
}

// find returns the record of a task, and whether it is among those that have nothing to do.
func find(tx *bbolt.Tx, id string) (t task.Task, kept bool, err error) {
	b := tx.Bucket(liveBucket).Get([]byte(id))
	if b == nil {
		b, kept = tx.Bucket(keptBucket).Get([]byte(id)), true
	}
	if b == nil {
		return task.Task{}, false, store.ErrNotFound
	}
	t, err = decode(id, b)
	return t, kept, err
}

func putKey(tx *bbolt.Tx, t *task.Task) error {
	if t.Key == "" {
		return nil
	}
	return tx.Bucket(keyBucket).Put([]byte(t.Key), []byte(t.ID))
}

func eachTask(b *bbolt.Bucket, take func(task.Task)) error {
	return b.ForEach(func(id, record []byte) error {
		t, err := decode(string(id), record)
		if err == nil {
			take(t)
		}
		return err
	})
}

// firstError does one thing after the other until one fails.
func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
