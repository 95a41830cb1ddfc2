package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice.dev/sluice/event/task"
)

// Store keeps tasks with their requests and results. What a method has returned without an error is durable: it survives kill -9 of this
// process and, where the engine synchronises to disk, the loss of power. Methods may be called by many goroutines, and then share the cost
// of one write to disk (group commit): a store never makes a caller wait for a second one. A method that returns an error may have had
// its effect, if the error is not one of those below: the caller may repeat it, since every step says what it expects of the record.
type Store interface {
	// Add records a task with its request. If there is a task with the same Key that was accepted within the window of Limits.Window, Add
	// records nothing and returns that task, and true. Errors: ErrFull, ErrTooMany.
	Add(ctx context.Context, t task.Task, r task.Request) (recorded task.Task, duplicate bool, err error)
	// Get returns a task. Errors: ErrNotFound.
	Get(ctx context.Context, id string) (task.Task, error)
	// Request returns what a task sends. Errors: ErrNotFound, also when the task is done: the requests of others are kept as long as they.
	Request(ctx context.Context, id string) (task.Request, error)
	// Result returns what a task was answered. Errors: ErrNotFound, also when there is no result yet or any more.
	Result(ctx context.Context, id string) (task.Result, error)
	// Change applies a step to the newest record of a task, and returns what the record is now. The step may be called more than once
	// where others write to the store too. If it returns an error, nothing is changed and Change returns that error as it is. The result,
	// where there is one, is stored with the step. Errors: ErrNotFound, and those of the step.
	Change(ctx context.Context, id string, result *task.Result, step func(*task.Task) error) (task.Task, error)
	// Due returns tasks whose next try may begin (task.Task.Next is not after now), the oldest of each revision first. For each revision
	// that has any it asks room once how many of them are wanted; room must not use the store. Two runners may
	// get the same task: the one whose Change to begin it comes first has it.
	Due(ctx context.Context, now time.Time, room func(revision string) int) ([]task.Task, error)
	// Deliveries returns at most n ended tasks whose delivery is due.
	Deliveries(ctx context.Context, now time.Time, n int) ([]task.Task, error)
	// Changed gets a value soon after something became due that was not before. It may also get one for nothing, and is only for the
	// runner of this process. What becomes due later by its time alone does not show in it: see Next.
	Changed() <-chan struct{}
	// Next is when the next task or delivery becomes due that is not yet; zero if there is none.
	Next() time.Time
	// List returns tasks by the order of their acceptance, at most q.Limit of them, beginning after q.After.
	List(ctx context.Context, q Query) ([]task.Task, error)
	// Depths are the open tasks of each revision. It reads memory alone.
	Depths() map[string]Depth
	// Usage is how much of its limits the store has used.
	Usage() Usage
	// Expire removes what has been kept for Limits.Retention, and returns how many tasks that were.
	Expire(ctx context.Context, now time.Time) (int, error)
	// Close waits for the writes that have begun, and ends the store. Later calls return ErrClosed.
	Close() error
}

var (
	// ErrNotFound says that there is no such task, or none any more.
	ErrNotFound = errors.New("there is no such task")
	// ErrFull says that the bytes of the store are used up.
	ErrFull = errors.New("the task store is full: tasks that end make room, or a larger quota")
	// ErrTooMany says that too many tasks are open, of the revision or in all.
	ErrTooMany = errors.New("too many tasks are waiting")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("the task store is closed")
	// ErrInUse says that another process has the store.
	ErrInUse = errors.New("another process uses the task store")
)

// Query says which tasks List returns. The zero value of a field excludes none.
type Query struct {
	Revision string
	// Namespace is the part of Revision before the slash.
	Namespace string
	State     task.State
	// After is the ID of the last task of the list before. Limit is required.
	After string
	Limit int
}

// Depth are the open tasks of a revision.
type Depth struct {
	// Waiting are those that wait for a try, Due those of them whose try may begin, as of the last call of Due. Running are the others.
	Waiting, Due, Running int
	// Oldest is when the oldest of them was accepted.
	Oldest time.Time
}

// Usage is how much is in a store.
type Usage struct {
	Open        int   // tasks that have not ended
	Bytes       int64 // of the requests of open tasks, with their records
	ResultBytes int64 // of the ended tasks, with their results
}

// Limits bound a store.
type Limits struct {
	// Open is how many tasks may be open, OpenOfRevision how many of one revision. Beyond them Add returns ErrTooMany.
	Open, OpenOfRevision int
	// Bytes is how many bytes the requests and records of open tasks may have. Beyond it Add returns ErrFull. Steps of tasks that are in
	// the store already are never refused.
	Bytes int64
	// ResultBytes is how many bytes the ended tasks may have, with their results and the requests of those that failed. Beyond it the ones
	// that ended first are removed, before their time, unless they have something to deliver.
	ResultBytes int64
	// Retention is how long an ended task and its result are kept.
	Retention time.Duration
	// Window is how long after its acceptance a task has no second one with the same Key, as long as it is kept; at most Retention.
	Window time.Duration
}

// DefaultLimits are those of a store that nobody has configured.
var DefaultLimits = Limits{
	Open: 1_000_000, OpenOfRevision: 200_000, Bytes: 4 << 30, ResultBytes: 1 << 30, Retention: 24 * time.Hour, Window: time.Hour,
}

// Check says what is wrong with the limits.
func (l Limits) Check() error {
	switch {
	case l.Open < 1 || l.OpenOfRevision < 1:
		return fmt.Errorf("%d open tasks, %d of a revision: want 1 or more", l.Open, l.OpenOfRevision)
	case l.Bytes < 1 || l.ResultBytes < 0:
		return fmt.Errorf("%d bytes for tasks and %d for results: want more than 0", l.Bytes, l.ResultBytes)
	case l.Window < 0 || l.Retention < l.Window:
		return fmt.Errorf("tasks are kept for %v and told apart within %v: want the second to be no longer than the first",
			l.Retention, l.Window)
	}
	return nil
}
