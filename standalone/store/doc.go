// Package store keeps the objects of the API server in an etcd of one member that listens only on a unix socket. etcd runs
// in a process of its own: it ends its process when it cannot write its log, when a page of its mapped database is damaged,
// or when no file descriptor is left, and none of that may end the data plane. Store starts the process, says in one
// sentence why it has ended, and starts it again until it serves.
//
// The package must not know what is stored.
package store
