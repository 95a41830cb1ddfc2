package kube

import "sync"

// notebook keeps the newest value per key, for a reconciler to read later.
type notebook[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]V
}

func (n *notebook[K, V]) put(k K, v V) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.values == nil {
		n.values = map[K]V{}
	}
	n.values[k] = v
}

func (n *notebook[K, V]) get(k K) (V, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.values[k]
	return v, ok
}

func (n *notebook[K, V]) drop(k K) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.values, k)
}

// replace replaces all values, and returns the keys whose value was added, removed or changed.
func (n *notebook[K, V]) replace(values map[K]V, same func(a, b V) bool) []K {
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
