// Package translator turns a model.World into Envoy resources: Translate is a pure function of the World.
//
// It knows Envoy's protos and the model. It must not know how resources travel (streams, acknowledgements, the order
// of updates and keeping the last good version are package xds's), where a World comes from, or the time.
//
// # Who gets what
//
// Clusters and endpoint assignments go to the gateway and to proxyless gRPC clients; an assignment without activators,
// under the same name, goes to the activator. Listeners http, https and local and the RouteConfigurations http and
// local are the gateway's. A gRPC client gets, for a host h of a Route, the Listeners "h" and "h:80": xds:///h and
// xds:///h:80 are what users write, because plain HTTP within a cluster is port 80; the number means nothing beyond
// the name, so no other port is emitted. Each names the RouteConfiguration "namespace/route", or
// "namespace/route/tag", which has one virtual host for any authority: its Listener has already chosen.
//
// # What a change costs
//
// Every Backend and Route is translated on its own and remembered by its pointer. The gateway's RouteConfigurations,
// which hold the virtual hosts of every Route, are put together from the remembered bytes of the parts: repeated
// fields of a proto message may be concatenated. Where routes are scoped (SRDS) each host is a resource of its Route instead. Host names and references are kept in sorted lists that share no state between Outputs and take one
// copy to change.
package translator
