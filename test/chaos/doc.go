// Package chaos changes everything at random while requests go on, and lets none of them fail.
//
// A run is a sequence of operations, which is a function of its seed alone, and an open loop of requests to every host that exists.
// The operations create, delete and rename Services, change weights and tags, make revisions, good ones and broken ones, let
// services fall asleep, overload them, cut the streams to the xDS server, keep clients away from it, connect a client that refuses
// what it is sent, and restart the control plane by SIGTERM and by SIGKILL. A request fails when it gets no answer, an answer other
// than 200, or the answer of a revision that its host did not have at any time from the sending to the answer.
//
// The gateway and two activators are processes of their own; `sluice up` is the control plane, and the replicas' queue-proxies are
// in it. So a restart ends all replicas, and the requests that come meanwhile are held by the activators. What is inside of a
// replica when it is killed is lost: before SIGKILL, and only then, the run lets the requests under way end.
//
// A host that is to go gets no new requests, and those under way end, before it is removed; a host is new when its Service is Ready.
//
// `go test ./test/chaos` makes four short runs, through the built-in gateway and through Envoy, each with routes in
// either form (scoped, inline), from seeds that it draws and prints. A long run of one kind is
//
//	make chaos GATEWAY=envoy ROUTES=inline SEED=7
//
// with 10,000 operations at 1,000 requests a second, unless OPS and RATE say otherwise; it takes an hour on two cores. What fails is
// printed with the flags that make the same run again, the operations before it and the logs of the processes. At the end of a run
// Envoy may not have complained of anything but the streams that were cut.
//
// The operations are a function of the seed, but not their timing: a seed that has failed fails often, not always.
//
// The requests are an open loop, but for an end: while 4,000 are under way, most of them held, no more are sent.
package chaos
