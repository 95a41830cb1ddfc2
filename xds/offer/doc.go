// Package offer decides which content of each resource the clients of each role are offered: the newest content, as long as clients
// do not NACK it, else the last good one.
//
// State is a state machine without lock, goroutine or clock. Its methods are the inputs: an update, an acknowledgement, a NACK, a
// new subscription, the time. After an input the caller takes the effects from Ready and passes them on to the clients that are
// subscribed. The package must not know clients, streams or subscriptions: the inputs carry what it needs of them.
package offer
