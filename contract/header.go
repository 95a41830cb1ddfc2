package contract

// Headers of requests, in canonical form.
const (
	// RevisionHeader and NamespaceHeader say which revision a request is for. Gateways set them; activators and queue-proxies read them.
	// An application does not get them.
	RevisionHeader  = "Knative-Serving-Revision"
	NamespaceHeader = "Knative-Serving-Namespace"
	// TagHeader is how a client chooses a tag of a Route.
	TagHeader = "Knative-Serving-Tag"
	// TimingHeader asks the activator for the parts of a cold start, which it sends in Server-Timing.
	TimingHeader = "Sluice-Timing"
	// ProxyHeader says to a queue-proxy that an activator counts the request; its value is Signer.ProxyProof.
	ProxyHeader = "K-Proxy-Request"
	// ProofHeader proves to the admin port of a queue-proxy that a controller sends a StreamDeadline.
	ProofHeader = "Sluice-Proof"
)

// The headers by which a request for a revision of the class event.sluice.dev says what kind of task it is. Others have no use for them.
const (
	// DeadlineHeader is when the task must have ended, in RFC 3339.
	DeadlineHeader = "Sluice-Deadline"
	// PriorityHeader is one of the priorities; without it the task is of PriorityNormal.
	PriorityHeader = "Sluice-Priority"
	PriorityHigh   = "high"
	PriorityNormal = "normal"
	PriorityLow    = "low"
	// SenderHeader names who sends the task: senders take turns. Without it the source of a CloudEvent does.
	SenderHeader      = "Sluice-Sender"
	EventSourceHeader = "Ce-Source"
)

// SlotHeader is on a task that an activator sends on. SlotLeased says to a queue-proxy that the task has a slot at this replica, so that it
// refuses the task where there is none. SlotHanded says to an activator that another one hands the task over.
const (
	SlotHeader = "Sluice-Slot"
	SlotLeased = "leased"
	SlotHanded = "handed"
)

// NotReady is what a queue-proxy says when it is asked whether its replica is ready, before what the application's last probe found.
const NotReady = "the application is not ready: "

// InternalHeaders are the headers that only parts of the platform may send, by Knative's names and in canonical form. Gateways remove
// them from the requests of clients. Nothing behind a gateway acts on them, except that a queue-proxy acts on a ProxyHeader with a
// valid proof.
var InternalHeaders = []string{ProxyHeader, SlotHeader, "K-Original-Host", "K-Network-Probe", "K-Network-Hash", "K-Kubelet-Probe"}
