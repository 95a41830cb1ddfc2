// Package runner runs the tasks of a store: it takes those that are due, sends each as an ordinary request, and records how that ended.
//
// It holds as many tasks of a revision in the request path as its window allows; the others wait in the store, and count as the backlog
// of their revision. A task is run at least once: it is recorded when a try begins and when it ends. A try whose end is not recorded,
// since the process was killed, counts and is followed by another one. The package must not know HTTP servers, nor how requests are
// dispatched.
package runner
