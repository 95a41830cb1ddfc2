// Package proxy is the request path of the gateway. A Manager admits a request, finds its route, changes its headers, picks an endpoint
// of the cluster, retries where the policy allows it, enforces the time limits, and passes the response back; a Cluster counts load.
// What users see follows Envoy: local replies and their response flags, the order of header changes, names of counters.
//
// It reads the plain values of package settings. It must not know protos, xDS, listeners, TLS, or where settings come from.
package proxy
