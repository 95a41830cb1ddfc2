package model

import "time"

// Workload is what a runtime must run for one revision.
type Workload struct {
	// Revision is the identity; UID tells apart two revisions that had the same name one after the other.
	Revision Key
	UID      string
	// Service and Configuration are names within the namespace; Service is empty for a Configuration of its own.
	Service, Configuration string
	// Generation is the generation of the configuration that the revision was made from.
	Generation string
	// Replicas is how many to run; 0 stops all of them.
	Replicas int
	// HPA leaves the count to the platform's own autoscaler, with this policy; Replicas is then only how many to start with. It is nil
	// where the count is Replicas.
	HPA *HPA
	// Containers are the revision's containers; the first one serves requests, the others run beside it.
	Containers []Container
	// Init are containers that end, one after the other, before Containers start: their names and images. Only pods have them.
	Init []Container
	// Protocol is what the serving container speaks.
	Protocol Protocol
	// CPU is how much CPU is requested for one replica, in thousandths of a core. A container that requests none, and has no limit, counts
	// as one core.
	CPU int64
	// Concurrency is how many requests one replica may have at a time; 0 means no limit.
	Concurrency int
	// Timeout bounds a whole request, ResponseStart the time to its first byte, Idle the time between two writes. 0 means none.
	Timeout, ResponseStart, Idle time.Duration
	// ProgressDeadline is how long a revision may take to become ready.
	ProgressDeadline time.Duration
	// Direct has requests reach the replicas without a queue-proxy before them.
	Direct bool
	// StreamDrain is how long streams (upgraded connections and gRPC streams) may go on when their replica drains.
	StreamDrain time.Duration
	// StreamDeadline is when all streams end although their replica runs on, because no Route names the revision any more. It is zero
	// otherwise.
	StreamDeadline time.Time
}

// Container is one container of a Workload, reduced to what a runtime needs.
type Container struct {
	Name, Image   string
	Command, Args []string
	WorkingDir    string
	Env           []EnvVar
	// Port is the container port that requests are sent to; 0 in containers that do not serve.
	Port int
	// Readiness, Liveness and Startup are nil when not given. Readiness of the serving container is never nil.
	Readiness, Liveness, Startup *Probe
	// Limits are resource limits by name, as written ("cpu": "500m").
	Limits map[string]string
}

// EnvVar is one environment variable.
type EnvVar struct{ Name, Value string }

// Probe is a health check. Exactly one of HTTP, TCP, Exec and GRPC is set.
type Probe struct {
	HTTP *HTTPProbe
	TCP  bool
	Exec []string
	GRPC *GRPCProbe
	// Port is the port to probe; 0 means the port that requests are sent to.
	Port int
	// Period is the time between two probes; 0 asks for aggressive probing (as often as is useful).
	Period, InitialDelay, Timeout      time.Duration
	SuccessThreshold, FailureThreshold int
}

// HTTPProbe is a GET that must answer 200 to 399.
type HTTPProbe struct {
	Path, Host, Scheme string
	Headers            []EnvVar
}

// GRPCProbe asks the gRPC health service.
type GRPCProbe struct{ Service string }

// WorkloadStatus is what a runtime reports of one revision, whenever it changes.
type WorkloadStatus struct {
	Revision Key
	UID      string
	// Ready are the addresses of the queue-proxies of the replicas that are ready, sorted.
	Ready []Endpoint
	// Metrics are where the load of the ready replicas can be scraped, for those that have a queue-proxy.
	Metrics []Scrape
	// Start are the moments of the start of the first ready replica after there was none.
	Start Start
	// Running is how many replicas exist, ready or not.
	Running int
	// Failure is why replicas do not become ready; nil while no failure is known.
	Failure *Failure
	// Notes are remarks for the user when nothing is wrong, such as limits that are not enforced.
	Notes []string
	// Asked is how many replicas the platform's own autoscaler asks for, and why. Its Signal is empty where there is none, and before it
	// has said something.
	Asked Proposal
	// Short says why fewer replicas run than were asked for although none has failed; empty when all of them run.
	Short string
}

// Failure is why a workload does not run.
type Failure struct {
	// Reason is one word in CamelCase, such as ExitCode1, ContainerMissing or ProgressDeadlineExceeded.
	Reason string
	// Message is a sentence, with the last lines of the container's output where there are some.
	Message string
	// Lasting says that it will not pass by itself, so that requests need not wait for that.
	Lasting bool
}

// Scrape is where one ready replica serves its load, as Prometheus text.
type Scrape struct {
	URL string
	// Since is when the replica became ready.
	Since time.Time
}
