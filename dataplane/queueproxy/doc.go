// Package queueproxy is the proxy in front of one replica. It limits how many requests the application gets at a time and queues a
// bounded number of others, enforces the revision's timeouts, answers the platform's probes, counts the load, and drains requests before
// the replica ends.
//
// A Proxy is an http.Handler and a server. A Prober probes the application behind it.
//
// It must not know routes, other replicas, the control plane, Kubernetes or xDS. It neither starts nor ends the application.
package queueproxy
