package contract

// The zones of the localities in a revision's ClusterLoadAssignment.
const (
	ZonePods      = "pods"      // its replicas
	ZoneActivator = "activator" // the activators that stand in for them
)

const (
	// ActivatorCluster is the cluster of all activators.
	ActivatorCluster = "activator"
	// ActivatorSecret is the Secret with the token of Signer. Activators alone get it.
	ActivatorSecret = "activator"
	// TracingExtension is the TypedExtensionConfig that says where spans go. Activators alone get it; gateways find the same in their
	// listeners.
	TracingExtension = "tracing"
)

// MetadataKey is the key under which metadata has what is ours: that of a node, and that of a locality.
const MetadataKey = "sluice.dev"

// AddressField is the field of a node's metadata with the host:port at which others reach that client.
const AddressField = "address"

// The fields of the metadata of a locality, which only activators get. None of them has to be there.
const (
	FieldConcurrency = "concurrency" // number: requests that a replica takes at a time; without it there is no limit
	FieldTimeout     = "timeout"     // number: the revision's timeout, in seconds
	FieldActivators  = "activators"  // list of host:port: the activators that share the revision
	FieldBehind      = "behind"      // true: requests come by activators although there are replicas
	FieldDirect      = "direct"      // true: the endpoints are applications without a queue-proxy
	FieldTasks       = "tasks"       // true: each request is a task, and waits at one activator alone
	FieldOwner       = "owner"       // host:port of that activator, to which the others hand tasks over
	FieldMaxWaiting  = "maxWaiting"  // number: tasks that may wait

	FieldFailure        = "failure" // object: why the revision cannot start
	FieldFailureReason  = "reason"
	FieldFailureMessage = "message"

	FieldStart        = "start"   // object: when the first replica after zero was requested, was started and became ready,
	FieldStartAsked   = "asked"   // each in Unix nanoseconds, as a text: a number of JSON has too few digits
	FieldStartStarted = "started" //
	FieldStartReady   = "ready"   //
)
