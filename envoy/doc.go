// Package envoy runs an Envoy process: its bootstrap, and the supervision of an Envoy that is installed on the machine.
//
// It must not know what Envoy serves: Envoy gets that over xDS.
package envoy
