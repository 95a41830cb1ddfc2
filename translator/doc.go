// Package translator turns a model.World into Envoy resources: Translate is a pure function of the World.
//
// It knows Envoy's protos and the model. It must not know the time, where a World comes from, or how resources are sent: streams,
// acknowledgements, the order of updates and the last good version are package xds's.
//
// # Which role gets what
//
// Clusters and endpoint assignments are for the gateway and for proxyless gRPC clients. The activator gets an assignment of the same name
// without activators. The Listeners http, https and local and the RouteConfigurations http and local are the gateway's.
//
// A gRPC client gets, for a host h of a Route, the Listeners "h" and "h:80": users write xds:///h and xds:///h:80, because plain HTTP
// within a cluster is port 80. The number has no meaning beyond the name, so there is no other port. Each Listener names the
// RouteConfiguration "namespace/route", or "namespace/route/tag", which has one virtual host for any authority, since the Listener has
// selected the host.
//
// # What a change costs
//
// Translate keeps the translation of each Backend and Route, and reuses it while the pointer to the object is the same. The gateway's
// RouteConfigurations, which contain the virtual hosts of every Route, are concatenated from the kept bytes of these parts, as proto allows
// for repeated fields. Where routes are scoped (SRDS), each host is a resource of its Route instead. Host names and references are in
// sorted lists that Outputs do not share; a change copies one of them.
package translator
