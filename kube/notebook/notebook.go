// Package notebook keeps values that one goroutine writes and another reads later. It must not know what they mean.
package notebook

import "sync"

// Notebook keeps the newest value per key, for a reconciler to read later. The zero value is empty. Its methods may be called from any
// goroutine.
type Notebook[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]V
}

// Put keeps a value, instead of the one before.
func (n *Notebook[K, V]) Put(k K, v V) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.values == nil {
		n.values = map[K]V{}
	}
	n.values[k] = v
}

// Get returns the value of a key, and whether there is one.
func (n *Notebook[K, V]) Get(k K) (V, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.values[k]
	return v, ok
}

// Drop removes the value of a key.
func (n *Notebook[K, V]) Drop(k K) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.values, k)
}

// Replace replaces all values, and returns the keys whose value was added, removed or changed.
func (n *Notebook[K, V]) Replace(values map[K]V, same func(a, b V) bool) []K {
	n.mu.Lock()
	defer n.mu.Unlock()
	var touched []K
	for k := range n.values {
		if _, still := values[k]; !still {
			touched = append(touched, k)
		}
	}
	for k, v := range values {
		if was, had := n.values[k]; !had || !same(was, v) {
			touched = append(touched, k)
		}
	}
	n.values = values
	return touched
}
