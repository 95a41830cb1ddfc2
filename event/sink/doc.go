// Package sink sends results and dead letters to the URLs that clients name. Whoever names one must not make this process ask what the
// client itself could not reach: it connects to public addresses only, which it checks after the name is resolved, when it connects. It
// follows no redirect and uses no proxy. It knows nothing of tasks.
package sink
