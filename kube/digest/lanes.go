package digest

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// perRegistry is how many images are asked for at a registry at a time, so that a thousand new revisions do not look like an attack, and
// a registry that does not answer delays its own images only.
const perRegistry = 32

// lanes bound the questions to each registry.
type lanes struct {
	mu    sync.Mutex
	lanes map[string]*lane // of registries that are asked now
}

type lane struct {
	users int // guarded by lanes.mu
	slots *semaphore.Weighted
}

// enter waits for a slot of a registry; leave gives it back. The error is the context's.
func (l *lanes) enter(ctx context.Context, registry string) (leave func(), err error) {
	l.mu.Lock()
	if l.lanes == nil {
		l.lanes = map[string]*lane{}
	}
	in := l.lanes[registry]
	if in == nil {
		in = &lane{slots: semaphore.NewWeighted(perRegistry)}
		l.lanes[registry] = in
	}
	in.users++
	l.mu.Unlock()
	if err := in.slots.Acquire(ctx, 1); err != nil {
		l.leave(registry, in)
		return nil, err
	}
	return func() {
		in.slots.Release(1)
		l.leave(registry, in)
	}, nil
}

func (l *lanes) leave(registry string, in *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.users--; in.users == 0 {
		delete(l.lanes, registry)
	}
}
