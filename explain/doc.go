// Package explain says whether requests to a Service, a Route or a host are served, and if not, why. Explain is a pure function of the
// objects in the API server and of the state of the xDS server's clients.
//
// The answer is one causal chain: generation, configuration, revisions and their shares, hosts, virtual hosts, clusters, endpoints, and
// the resources that each connected client has acknowledged. Its first broken link is the verdict, with the remedy.
//
// The package must not know clients of Kubernetes or xDS, Envoy's messages, or how an Explanation is printed.
package explain
