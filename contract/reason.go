package contract

// ReasonHeader is on every error response that an activator or a queue-proxy makes itself, with one of the reasons below. It
// distinguishes such a response from one of the application, from whose responses the queue-proxy removes it.
const ReasonHeader = "Sluice-Reason"

// The values of ReasonHeader.
const (
	// ReasonUnsent (503) says that the application has not received the request, so that it may be sent to another replica: the
	// application is gone, takes no connection, or belongs to another revision. Gateways and activators retry on it.
	ReasonUnsent = "Unsent"

	ReasonBadBody          = "BadBody"          // 400: the client did not deliver the body that it announced, or not as HTTP requires
	ReasonBadEvent         = "BadEvent"         // 400, 413, 415: the request says that it is a CloudEvent, and is no valid one
	ReasonBadRequest       = "BadRequest"       // 400: it is not clear where the request ends
	ReasonBadTask          = "BadTask"          // 400: a header of the task is wrong, or its deadline has passed
	ReasonNoRevision       = "NoRevision"       // 400: the request does not say which revision is meant
	ReasonUnknownRevision  = "UnknownRevision"  // 404: there is no such revision
	ReasonTooManyHeaders   = "TooManyHeaders"   // 431
	ReasonUnreachable      = "Unreachable"      // 502: the application or its replica did not answer, or not in HTTP
	ReasonQueueFull        = "QueueFull"        // 503, of tasks 429: the queue is full
	ReasonRevisionFailed   = "RevisionFailed"   // 503: the revision cannot start
	ReasonShuttingDown     = "ShuttingDown"     // 503: the drain has taken as long as it may
	ReasonTooManyRevisions = "TooManyRevisions" // 503: requests wait for as many revisions as the activator allows
	ReasonDeadline         = "DeadlineExceeded" // 504: the deadline of the task has passed
	ReasonRequestTimeout   = "RequestTimeout"   // 504: one of the revision's timeouts
)
