package model

import "strings"

// Key identifies an object: its namespace and its name.
type Key struct {
	Namespace string
	Name      string
}

// String returns "namespace/name", the form that resources of the data plane are named in.
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Compare orders keys by namespace, then by name. It returns -1, 0 or 1.
func (k Key) Compare(other Key) int {
	if c := strings.Compare(k.Namespace, other.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.Name, other.Name)
}
