// Package intake makes tasks of asynchronous requests, and answers clients about them. A client that asks with Prefer: respond-async gets
// 202 and the address of its task (RFC 7240), after the task is durably recorded. Whoever knows the ID of a task may see, cancel and retry
// it at the host that it was sent to. It must not know how tasks are run.
package intake
