// Package queueproxy is what stands in front of one replica: it limits how many requests the replica works on at a
// time and queues a bounded number of others, ends those that take too long, answers probes on the replica's behalf,
// counts the load, and drains it before the replica ends.
//
// A Proxy is an http.Handler and a server. A Prober finds out whether the application behind it is ready.
//
// It serves one replica and knows no other: it must not know of routes, of the control plane, of Kubernetes or of xDS,
// and it neither starts nor ends the application.
package queueproxy
