// Package envoy runs an Envoy process: its bootstrap, and the supervision of one that is installed on the machine.
//
// It must not know what Envoy serves: that comes to Envoy over xDS.
package envoy
