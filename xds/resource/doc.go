// Package resource has the values that the xDS server and its callers exchange: resources and updates of them, roles, nodes,
// progress, NACKs and load reports. It also has what the server knows about types: the order in which they are sent, and which
// resources a client requests because of another one.
//
// The package is pure. It must not know clients, streams or time.
package resource
