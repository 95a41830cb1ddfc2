package model

import (
	"fmt"
	"time"
)

// ScalerSignal is the name of the signal of a Scaler.
func ScalerSignal(name string) string { return "scaler/" + name }

// Scaler is a source of figures outside Sluice, and how replicas follow them. External or Prometheus is set, unless there is a Problem.
type Scaler struct {
	// Key names it; its revisions are in the same namespace.
	Key Key
	// External is a server of KEDA's contract for external scalers, Prometheus a query.
	External   *ExternalScaler
	Prometheus *PrometheusQuery
	// Problem is why the source cannot be asked, as a sentence; empty when it can. Without figures its revisions keep what runs.
	Problem string
	// Type says how a value becomes a count.
	Type MetricType
	// Target is the value that one replica should have, or all of them together with Value. 0 means the one that the external scaler
	// names.
	Target float64
	// Every is the time between two questions.
	Every time.Duration
	// Hold is how long a larger count stays after the value asks for less.
	Hold time.Duration
	// Most is the largest count.
	Most int
	// Fallback counts while the source has failed for some time.
	Fallback Fallback
	// Revisions are those that follow it.
	Revisions []Named
}

// Named is a revision by name and UID.
type Named struct {
	Revision Key
	UID      string
}

// MetricType says how the value of a metric becomes a count of replicas, as in Kubernetes' HorizontalPodAutoscaler.
type MetricType string

// AverageValue divides the value by the target; Value multiplies the ready replicas by their ratio.
const (
	AverageValue MetricType = "AverageValue"
	Value        MetricType = "Value"
)

// ExternalScaler is a server of KEDA's contract.
type ExternalScaler struct {
	Address  string // host:port
	Metadata map[string]string
	TLS      ClientTLS
}

// PrometheusQuery is an instant query.
type PrometheusQuery struct {
	Address string // a URL; the paths of Prometheus' API are below it
	Query   string
	TLS     ClientTLS
}

// ClientTLS is how a client proves who the server is, and who it is itself. All are PEM.
type ClientTLS struct {
	// Plaintext is no TLS at all.
	Plaintext bool
	// CA are the authorities of the server's certificate; empty means those of the system.
	CA string
	// ServerName is the name in the server's certificate; empty means the host of the address.
	ServerName string
	// Chain and Key are the client's own certificate; empty means none.
	Chain, Key string
}

// String tells nothing of a key.
func (t ClientTLS) String() string {
	return fmt.Sprintf("{plaintext %t, CA of %d bytes, server name %q, own certificate %t}",
		t.Plaintext, len(t.CA), t.ServerName, t.Chain != "")
}

// GoString tells nothing of a key.
func (t ClientTLS) GoString() string { return t.String() }

// Fallback is the least count of replicas after so many failures one after the other; no failures mean that there is no fallback.
type Fallback struct{ Failures, Replicas int }

// ScalerStatus is what a Scaler has said last.
type ScalerStatus struct {
	// Known says that it has answered once.
	Known bool
	// Active says that replicas should run, since Since.
	Active bool
	Since  time.Time
	// Metrics are the values of the last answer; an inactive external scaler is not asked for them.
	Metrics []ScalerMetric
	// Replicas is the count that it asks for, UnknownReplicas without data. It is that of the first revision.
	Replicas int
	// Failures is how many questions in a row have failed, Problem what is wrong with the last one, as a sentence.
	Failures int
	Problem  string
	// FellBack says that the fallback counts.
	FellBack bool
}

// ScalerMetric is the value of one metric and its target.
type ScalerMetric struct {
	Name          string
	Value, Target float64
}
