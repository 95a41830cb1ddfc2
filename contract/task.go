package contract

// TaskPath begins the paths at which an activator answers about asynchronous tasks, on every host whose revision has them.
const TaskPath = "/.well-known/sluice/tasks/"

// The headers by which a client asks for an asynchronous task, besides Prefer: respond-async.
const (
	// CallbackHeader is the URL that gets the result, DeadLetterHeader the one that gets the request of a task that failed.
	CallbackHeader   = "Sluice-Callback"
	DeadLetterHeader = "Sluice-Dead-Letter"
	// TriesHeader is how often the task is tried at most.
	TriesHeader = "Sluice-Tries"
	// IdempotencyHeader tells tasks of a sender apart that are no CloudEvents; EventIDHeader is the id of a CloudEvent.
	IdempotencyHeader = "Idempotency-Key"
	EventIDHeader     = "Ce-Id"
)

// The headers of a task on its way to its application, which gets TaskHeader and TryHeader.
const (
	// TaskHeader is the ID of the task, TryHeader the number of the try, from 1. A callback and a dead letter have TaskHeader too.
	TaskHeader = "Sluice-Task"
	TryHeader  = "Sluice-Try"
	// RunnerHeader proves to an activator that the runner of its own process sends the request. The activator removes it, and says in
	// ReplicaHeader of the response which replica has answered.
	RunnerHeader  = "Sluice-Runner"
	ReplicaHeader = "Sluice-Replica"
	// StateHeader, WhyHeader and StatusHeader are on a callback and on a dead letter: the state of the task, the sentence about it, and the
	// status of the last response.
	StateHeader  = "Sluice-Task-State"
	WhyHeader    = "Sluice-Task-Why"
	StatusHeader = "Sluice-Task-Status"
)

// The values of ReasonHeader about asynchronous tasks.
const (
	ReasonNoTaskStore  = "NoTaskStore"   // 501: this activator keeps no tasks
	ReasonBodyTooLarge = "BodyTooLarge"  // 413: the body of the task is larger than is kept
	ReasonTooManyTasks = "TooManyTasks"  // 429: as many tasks are open as may
	ReasonTasksFull    = "TaskStoreFull" // 507: the bytes for tasks are used up
	ReasonTaskStore    = "TaskStore"     // 503: the task could not be recorded
	ReasonNoTask       = "NoTask"        // 404: there is no such task, or not any more
	ReasonTaskState    = "TaskState"     // 409: the task is not in a state for this
	ReasonGone         = "Gone"          // 410: the result or the request is not kept any more
)
