// Package peers measures parts of the data plane against Knative's own, in the same run, under the same load. It
// is a module of its own so that Sluice does not depend on Knative:
//
//	cd test/peers && go test -bench . -benchmem
package peers
