// Package hpa runs the HorizontalPodAutoscaler controller of Kubernetes with synthetic time over replicas whose CPU and memory are made up,
// and writes its counts to files. With them the tests of autoscaler/hpa compare every count without Kubernetes.
//
// It is a module of its own, so that Sluice does not depend on Kubernetes. Run `go test . -write` after adding a trace; without -write the
// test checks that the files are what the controller says. The files are reviewed like code.
package hpa
