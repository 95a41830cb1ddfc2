// Package dispatch hands the requests of a revision to its replicas. A Dispatcher is a bounded fair queue in front of the replicas'
// slots: a request holds a slot before it is sent, so that none waits behind a busy replica while another one has room.
//
// It must not know HTTP, xDS or what a request contains. Of a replica's connections it knows only that there is a pool, which it opens
// and closes.
package dispatch
