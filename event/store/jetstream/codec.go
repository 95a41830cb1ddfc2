package jetstream

import (
	"encoding/json"
	"fmt"
	"strconv"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// record is the value of a task's key.
type record struct {
	Task task.Task `json:"task"`
	// Request is how many bytes the value of its request has, 0 when it is not kept any more.
	Request int64 `json:"request"`
	// Result is the key of its result, empty for none. Each result has a key of its own, since the runner that writes it may find that
	// the task is not its own any more. ResultBytes is the length of its value.
	Result      string `json:"result,omitempty"`
	ResultBytes int64  `json:"resultBytes,omitempty"`
}

// The keys of the bucket.
func taskKey(id string) string    { return "task." + id }
func requestKey(id string) string { return "request." + id }
func eventKey(key string) string  { return "event." + key } // of the Key of a task
func resultKey(id string, revision uint64) string {
	return "result." + id + "." + strconv.FormatUint(revision, 36)
}

// tasks and taskPrefix select the keys of tasks.
const (
	taskPrefix = "task."
	tasks      = "task.*"
)

// encode encodes values whose types cannot fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err))
	}
	return b
}

func decode[T any](key string, b []byte) (v T, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("the bucket of tasks has a damaged value of %s: %w", key, err)
	}
	return v, nil
}

// bytes is how many bytes a record is counted as, with its request and result. Records are about half a kibibyte, and grow with each try.
func (r *record) bytes() int64 {
	const own = 1024
	if r.Task.State.Open() {
		return own + r.Request
	}
	return own + r.Request + r.ResultBytes
}

// validID says that an ID may be part of a key.
func validID(id string) error {
	if !task.ValidID(id) {
		return store.ErrNotFound
	}
	return nil
}
