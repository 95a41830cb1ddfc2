// Package store keeps the objects of the API server: an etcd of one member that listens on a unix socket and on nothing
// else, in a process of its own. etcd ends its whole process when it cannot write its log, and so do a damaged page in its
// mapped database and a lack of descriptors; none of that may end the data plane. Store starts the process, says in one sentence
// what has happened to it, and starts it again until it serves.
//
// It must not know what is stored.
package store
