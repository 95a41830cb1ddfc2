package cluster

import "sync"

// latest holds the newest value that anybody has put.
type latest[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{} // has a token after a put, until it is taken
}

func newLatest[T any]() *latest[T] { return &latest[T]{changed: make(chan struct{}, 1)} }

func (l *latest[T]) put(value T) {
	l.mu.Lock()
	l.value = value
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *latest[T]) get() T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value
}
