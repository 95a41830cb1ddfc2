// Package bolt is the store of tasks of one machine: a file of bbolt, which one process at a time has open.
//
// One goroutine writes. It takes all the changes that have come while it wrote the ones before, and commits them in one transaction: the
// cost of synchronising to disk is shared by as many as wait for it (group commit), and who waits alone waits for nobody. What is due is
// an index in memory, made from the open tasks when the file is opened.
package bolt
