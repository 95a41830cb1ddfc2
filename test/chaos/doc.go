// Package chaos changes everything at random under load, and no request may fail.
//
// A run is a sequence of operations, which depends on its seed alone, and an open loop of requests to every host that exists.
// The operations create, delete and rename Services, change weights and tags, make good and broken revisions, let services
// scale to zero, overload them, cut the streams to the xDS server, keep clients disconnected, connect a client that NACKs
// responses, and restart the control plane by SIGTERM and by SIGKILL. A request fails if it gets no response, a status other
// than 200, or the response of a revision that its host did not have at any time between request and response.
//
// The gateway and two activators are processes of their own. `sluice up` is the control plane, and contains the replicas'
// queue-proxies. So a restart ends all replicas, and the activators hold the requests that come meanwhile. Requests in a
// replica that is killed are lost: so before SIGKILL, and only then, the run lets the requests in flight end.
//
// Before a host is removed, it gets no new requests, and those in flight end. A new host gets requests when its Service is Ready.
//
// `go test ./test/chaos` makes four short runs, through the built-in gateway and through Envoy, each with routes in
// either form (scoped, inline). It draws and prints the seeds. A long run of one kind is
//
//	make chaos GATEWAY=envoy ROUTES=inline SEED=7
//
// with 10,000 operations at 1,000 requests a second, unless OPS and RATE set other numbers. It takes an hour on two cores. A run
// prints its failures with the flags that repeat it, the operations before them and the logs of the processes. At the end of a run
// Envoy's log may have no complaints except about the streams that were cut.
//
// TestChaosInACluster does the same in the cluster of KUBECONFIG, in which it installs Sluice with two Envoys as gateways:
//
//	make chaos CLUSTER=1 OPS=200 SEED=1
//
// It restarts, deletes, evicts and upgrades the pods of Sluice, kills the leader and Envoys, evicts pods of revisions, and changes
// ConfigMaps, also to something wrong. Requests that were inside of an Envoy when it was killed may fail; the run counts them. No others
// may, and nobody may be refused. A client does not use a connection that its gateway has closed.
// The image dev.local/chaos:v1 is testdata/app; .ci/cluster makes it.
//
// The operations depend on the seed, but not their timing: a seed that has failed fails often, not always.
//
// The open loop has a limit: while 4,000 requests are in flight, most of them held, it sends no more.
package chaos
