// Package task is what an asynchronous request becomes, and the life that it has: it waits, runs, is tried again, and ends. It is pure:
// times and random numbers come in as values, and the result of every step is a new Task.
//
// A step of a Task's life is a function that changes the Task, such as Begin or Finish. A store applies it to the newest record and
// stores the result in one transaction. The package must not know stores, HTTP servers, or what a revision is made of.
package task
