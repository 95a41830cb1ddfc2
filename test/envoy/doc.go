// Package envoy sees what a real Envoy makes of our resources where requests could be lost: the World is translated and served as in
// the product, what answers are small processes that a test may kill, freeze or have close connections, and each case is asked of
// the built-in gateway too, which must do the same.
package envoy
