// Package external asks what is outside Sluice how many replicas revisions need: servers of KEDA's contract for external scalers, and
// Prometheus. It hands on proposals, which the loop composes with the load and the other signals.
//
// Each scaler has goroutines of its own, and whatever a server does concerns that scaler alone. What comes from a server is bounded: the
// size of a message, the number of metrics, the time of a call, how often it may push. A server that fails or is silent has no data, and
// its revisions keep what runs.
//
// count.go and hold.go are pure. The package must not know Kubernetes, nor who runs replicas.
package external
