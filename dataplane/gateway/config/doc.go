// Package config compiles Envoy's resources into the plain values of package settings, and refuses what it does not understand: the
// error names the field, and becomes the text of the NACK. understood.go is the one table of the messages and fields that it accepts.
//
// Each function takes the name, version and bytes of a resource and returns a value. The package must not know sockets, requests,
// streams of xDS, the clock, or which version of a resource is in force.
package config
