package simulate

import "sluice.dev/sluice/model"

// Result is the outcome of a simulation.
type Result struct {
	// Rows are the beginning and the end of every second.
	Rows   []Row  `json:"rows"`
	Totals Totals `json:"totals"`
}

// Row is the state at the end of a second and what was measured in it.
type Row struct {
	// Seconds since the beginning.
	Seconds int `json:"seconds"`
	// RPS is how many requests arrived, Concurrency the mean number of those in progress or waiting.
	RPS         int     `json:"rps"`
	Concurrency float64 `json:"concurrency"`
	// Stable and Panic are the averages that the last decision was made on, in units of the policy's metric.
	Stable float64 `json:"stable"`
	Panic  float64 `json:"panic"`
	// Desired is how many replicas are asked for: Ready and Starting ones.
	Desired  int `json:"desired"`
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	// Waiting is how many requests wait for a replica.
	Waiting             int          `json:"waiting"`
	Panicking           bool         `json:"panicking"`
	ExcessBurstCapacity int          `json:"excessBurstCapacity"`
	Via                 model.Via    `json:"via"`
	Reason              model.Reason `json:"reason"`
	// Why is the sentence of the decision, in a second in which one changed something.
	Why string `json:"why,omitempty"`
	// ReplicaSeconds and IdealReplicaSeconds are the cost until now: see Totals.
	ReplicaSeconds      float64 `json:"replicaSeconds"`
	IdealReplicaSeconds float64 `json:"idealReplicaSeconds"`
}

// Totals are the figures of a whole simulation.
type Totals struct {
	// Requests = Served + Waiting + TimedOut: handed to a replica, waiting at the end, and timed out.
	Requests int `json:"requests"`
	Served   int `json:"served"`
	Waiting  int `json:"waiting"`
	TimedOut int `json:"timedOut"`
	// WaitP50 and so on are how long requests waited for a replica, in seconds. Requests that still wait at the end count with their
	// wait until then.
	WaitP50 float64 `json:"waitP50"`
	WaitP95 float64 `json:"waitP95"`
	WaitP99 float64 `json:"waitP99"`
	WaitMax float64 `json:"waitMax"`
	// WaitMean is the mean over all requests.
	WaitMean float64 `json:"waitMean"`
	// OverSecond is the share of requests, 0 to 1, that waited for more than a second.
	OverSecond float64 `json:"overSecond"`
	// ReplicaSeconds is the cost: replicas that were asked for, whether they were ready or not, over time.
	ReplicaSeconds float64 `json:"replicaSeconds"`
	// IdealReplicaSeconds is the load that arrived divided by the target of a replica, over time: the cost of a scaler that knows the
	// future, needs no time and can run parts of replicas.
	IdealReplicaSeconds float64 `json:"idealReplicaSeconds"`
	// OverProvision is ReplicaSeconds / IdealReplicaSeconds; 0 without load.
	OverProvision float64 `json:"overProvision"`
	// ColdStarts is how often a request found no replica.
	ColdStarts int `json:"coldStarts"`
	// ColdRequests is how many requests arrived while no replica was ready.
	ColdRequests int `json:"coldRequests"`
	// ScaleSteps is how often the count was changed.
	ScaleSteps   int `json:"scaleSteps"`
	MostReplicas int `json:"mostReplicas"`
	PanicSeconds int `json:"panicSeconds"`
}

// record appends a row.
func (m *machine) record(sec int) {
	d, s, t := &m.decision, &m.second, &m.totals
	t.ReplicaSeconds = m.inSeconds(int(m.cost))
	m.rows = append(m.rows, Row{
		Seconds: sec, RPS: s.arrived, Concurrency: m.inSeconds(s.busy), Stable: d.Stable, Panic: d.Panic,
		Desired: m.replicas.asked, Ready: m.replicas.ready, Starting: len(m.replicas.starting), Waiting: m.queue.waiting,
		Panicking: d.Panicking, ExcessBurstCapacity: d.ExcessBurstCapacity, Via: d.Via, Reason: d.Reason, Why: s.why,
		ReplicaSeconds: t.ReplicaSeconds, IdealReplicaSeconds: t.IdealReplicaSeconds,
	})
	s.why = ""
}

func (m *machine) inSeconds(ticks int) float64 { return float64(ticks) / float64(m.perSecond) }

func (m *machine) result() *Result {
	q, t := &m.queue, m.totals
	q.close(m.now)
	t.Requests, t.Served, t.Waiting, t.TimedOut = q.arrived, q.served, q.waiting, q.timedOut
	t.WaitP50, t.WaitP95, t.WaitP99 = m.inSeconds(q.percentile(0.5)), m.inSeconds(q.percentile(0.95)), m.inSeconds(q.percentile(0.99))
	t.WaitMax = m.inSeconds(max(0, len(q.waits)-1))
	if q.arrived > 0 {
		t.WaitMean = q.total() / float64(m.perSecond) / float64(q.arrived)
		t.OverSecond = float64(q.over(int(m.perSecond))) / float64(q.arrived)
	}
	if t.IdealReplicaSeconds > 0 {
		t.OverProvision = t.ReplicaSeconds / t.IdealReplicaSeconds
	}
	return &Result{m.rows, t}
}
