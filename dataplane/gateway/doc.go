// Package gateway is the built-in data plane: an ordinary xDS client of the role "gateway" that serves HTTP where no Envoy
// is installed.
//
// It subscribes to all listeners and clusters, and to the route configurations and endpoint assignments that they name.
// Each resource is decoded once into a small immutable model (listener, routeTable, clusterConfig, assignment); the request
// path reads that model through atomic pointers and never sees a proto. What the gateway does not understand it refuses
// with a NACK that names the resource and the field, and the last good version keeps serving (understood.go is the one
// table of what it understands). In all behaviour that users see it follows Envoy: host and path matching, the order of
// header changes, timeouts, local replies and their response flags, admin paths and metric names.
//
// It must not know Worlds, revisions, Kubernetes, or how the resources come about: whatever speaks xDS may drive it.
package gateway
