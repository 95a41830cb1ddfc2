// Package jetstream keeps tasks in a bucket of NATS JetStream, which many activators share.
//
// A task is one key, changed by compare-and-set of its revision: of several runners that begin it one succeeds. Its request and its results
// are keys beside it, which are written before the task names them. Each process watches all tasks and keeps what it needs of each in
// memory, so that what is due and the depths are no questions to the server. A process sees its own writes at once and those of others
// when the watch brings them, so the limits on how many tasks are open hold nearly when many processes add at the same moment.
//
// JetStream answers a write when it is with the server, or with most of them where the bucket has replicas. Whether it is on a disk by then
// is the server's sync_interval; "always" makes it so.
package jetstream
