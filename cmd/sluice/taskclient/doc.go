// Package taskclient is the commands about asynchronous tasks, and the client of the task API that they use: it lists tasks at the admin
// address, and cancels and retries them at the gateway. The package must not know how tasks are stored or run.
package taskclient
