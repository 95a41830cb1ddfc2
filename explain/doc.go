// Package explain tells what becomes of the requests to a Service, a Route or a host: Explain is a pure function of what the API
// server says of the objects and what the xDS server says of its clients.
//
// The answer is one causal chain: generation, configuration, revisions and their shares, hosts, virtual hosts, clusters,
// endpoints, and what each connected client has acknowledged. Its first broken link is the verdict, with the remedy.
//
// The package must not know clients of Kubernetes or xDS, Envoy's messages, or how an Explanation is printed.
package explain
