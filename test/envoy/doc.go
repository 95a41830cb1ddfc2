// Package envoy tests a real Envoy with our resources in cases where requests could be lost. It translates and serves the World as the
// product does. The endpoints are small processes that a test may kill or freeze, or that close connections. The built-in gateway must
// pass each test too.
package envoy
