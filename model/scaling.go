package model

import "time"

// Metric is the load by which a revision is scaled.
type Metric string

// Concurrency counts requests in progress, RPS requests per second. CPU is used time in relation to the requested one, Memory resident
// memory; only the class HPA has these two.
const (
	Concurrency Metric = "concurrency"
	RPS         Metric = "rps"
	CPU         Metric = "cpu"
	Memory      Metric = "memory"
)

// Aggregation is how the figures of a window become one.
type Aggregation string

// Linear is the mean; WeightedExponential lets the newest seconds count most.
const (
	Linear              Aggregation = "linear"
	WeightedExponential Aggregation = "weighted-exponential"
)

// Scaling is the policy of one revision, made from its annotations and the configuration.
type Scaling struct {
	// Class is the kind of autoscaler, such as kpa.autoscaling.knative.dev.
	Class       string
	Metric      Metric
	Aggregation Aggregation
	// Target is the load that one replica should have, Total the load that it can have; both in units of Metric.
	Target, Total float64
	// MaxScaleUpRate and MaxScaleDownRate bound the ratio of one step to the ready replicas; both are over 1.
	MaxScaleUpRate, MaxScaleDownRate float64
	// PanicThreshold is the ratio of wanted to ready replicas at which panic mode begins.
	PanicThreshold float64
	// TargetBurstCapacity is the further load that the ready replicas must be able to take at once; otherwise requests pass through the
	// activator. -1 means that they always do.
	TargetBurstCapacity float64
	// ActivatorCapacity is the load for one activator.
	ActivatorCapacity float64
	// StableWindow and PanicWindow are whole seconds.
	StableWindow, PanicWindow time.Duration
	// ScaleDownDelay is how long a lower count must have been enough before Decide returns it.
	ScaleDownDelay time.Duration
	// MinScale and MaxScale bound the replicas; a MaxScale of 0 means no bound.
	MinScale, MaxScale int
	// InitialScale is how many replicas a new revision starts with, ActivationScale the least number for a start from zero.
	InitialScale, ActivationScale int
	// ScaleToZero allows zero replicas.
	ScaleToZero bool
	// Grace is how long the activator must have backed a revision before its last replica ends.
	Grace time.Duration
	// Retention is the least time that the last replica stays after the revision became inactive.
	Retention time.Duration
	// ProgressDeadline is how long replicas may take to become ready.
	ProgressDeadline time.Duration
	// Observe keeps the replicas: decisions are shown, and nothing follows them.
	Observe bool
	// CPU and Memory are what a replica should use: percent of the requested CPU, and MiB; 0 means that it is no signal. They are for the
	// class KPA alone.
	CPU, Memory float64
	// HPA is the policy of a revision of that class; the zero value of any other.
	HPA HPA
	// EventIdle is how long a replica stays that no task needs, of the class event.sluice.dev alone.
	EventIdle time.Duration
}

// HPA is the policy of a revision of the class hpa.autoscaling.knative.dev: what a HorizontalPodAutoscaler of Kubernetes is made from.
type HPA struct {
	// Min and Max bound the replicas. Min is 1 or more: this class has no zero. A Max of 0 means no bound.
	Min, Max int
	// Metric is CPU, Memory, or the name of a metric that pods serve.
	Metric Metric
	// Target is what a replica should have on average: of CPU percent of the requested time, of Memory MiB, else units of the metric. 0
	// means that none is given: Kubernetes' default is CPU at 80 percent, whatever Metric is.
	Target float64
	// Window is the stabilisation window in both directions; 0 means Kubernetes' defaults: none for scaling up, 300 s for scaling down.
	Window time.Duration
}

// Sample is the load of one revision in one second, as one source saw it or as the sum of several. The samples of one second are
// added up, each without what it replaces.
type Sample struct {
	// Time is when it was received, by the clock of the receiver.
	Time time.Time
	// Concurrency is the mean number of requests in progress, Requests the number of requests in that second.
	Concurrency, Requests float64
	// ReplacedConcurrency and ReplacedRequests are what an earlier sample of the same second said and this one corrects; 0 when
	// this one corrects nothing.
	ReplacedConcurrency, ReplacedRequests float64
}

// MetricsSource is where the load of a revision's replicas comes from.
type MetricsSource string

// Queue-proxies are scraped; or gateways report over LRS, where there is no queue-proxy in the path. In both cases activators report the
// requests that they hold.
const (
	FromQueueProxy MetricsSource = "queue-proxy"
	FromEnvoy      MetricsSource = "envoy"
)

// Scaled is what its autoscaler must know of a revision.
type Scaled struct {
	Revision Key
	// UID tells apart two revisions that had the same name one after the other.
	UID string
	// Annotations are the revision's; the policy is made from them.
	Annotations map[string]string
	// Concurrency is containerConcurrency; 0 means no limit.
	Concurrency      int
	ProgressDeadline time.Duration
	// Source is where the load of the replicas comes from; empty means FromQueueProxy.
	Source MetricsSource
	// Unreachable says that no Route names it. Its streams do not count as load then: the runtime ends them at a deadline.
	Unreachable bool
	// Schedules are those that concern it now, which is none while no Route names it. The values are shared and do not change; another
	// schedule is another value.
	Schedules []*Schedule
	// Asked is how many replicas the owner of a class asks for that Sluice does not know; nil while the owner is not known to.
	Asked *int
	// Before is the status of the revision when this process first saw it.
	Before Before
}

// Before is the part of a revision's status from which an autoscaler resumes.
type Before struct {
	// Replicas is how many were asked for; UnknownReplicas for a revision that has not been scaled yet.
	Replicas int
	// Active is the status of the condition of that name, Since when it last changed.
	Active Status
	Since  time.Time
	// Initialized says that it has been ready once.
	Initialized bool
}

// UnknownReplicas in place of a count says that the count is unknown.
const UnknownReplicas = -1

// Proposal is the count that one signal asks for.
type Proposal struct {
	// Signal names it: concurrency, rps, cpu, a schedule, an external scaler.
	Signal string
	// Replicas is UnknownReplicas when the signal has no data. Zero is allowed.
	Replicas int
	// Why is a sentence.
	Why string
}

// Decision is how many replicas of a revision should run and how requests reach them, with its why.
type Decision struct {
	// Replicas is how many to run now.
	Replicas int
	// Observing says that Replicas stays as it was; Would is how many would run otherwise.
	Observing bool
	Would     int
	// Via says how requests should reach the revision, Activators how many activators serve it with ViaActivator.
	Via        Via
	Activators int
	// Active is the condition of that name for the revision's status.
	Active Condition
	// Reason is why Replicas is what it is, in one word; Why has the sentence.
	Reason Reason
	// Desired is the count that the load asks for, before other signals, bounds and scale to zero. It is
	// UnknownReplicas until the first data; without new data it stays.
	Desired int
	// ExcessBurstCapacity is the load that the ready replicas could take at once beyond TargetBurstCapacity; negative when they could
	// not take that.
	ExcessBurstCapacity int
	// Fresh says that there were data to decide on; the next figures are theirs.
	Fresh bool
	// Stable and Panic are the averages over the two windows, Target is the load that one replica should have.
	Stable, Panic, Target float64
	Metric                Metric
	// Panicking says that panic mode is on.
	Panicking bool
	// Ready is how many replicas were ready.
	Ready int
	// Initialized says that the revision has reached its initial scale once.
	Initialized bool
	// Signal is the signal that asked for the largest count; its name is empty when that was the load.
	Signal Proposal
	// Limit is the signal that allows no more replicas; its name is empty when none does.
	Limit Proposal
	// HPA leaves the count to an autoscaler of the platform, which is to follow this policy. Replicas is then what that one asks for. It is
	// nil where Sluice decides.
	HPA *HPA
	// Proposals are the counts that the signals beside the load asked for.
	Proposals []Proposal
}
