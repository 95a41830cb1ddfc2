// Package cluster runs the control plane in a Kubernetes cluster, as `sluice controller` does. One replica leads: it reconciles objects,
// scales revisions and serves xDS. The others pass the connections of xDS clients on to it, so that a client may connect to any replica,
// and take over when it ends. The package must not know how any of the loops works.
package cluster
