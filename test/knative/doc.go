// Package knative runs Knative Serving's published conformance suites against Sluice in a cluster. It is a module of its
// own so that Sluice does not depend on Knative. The suites and their test images come from the module
// knative.dev/serving and are built here, so the version in go.mod is what Sluice is compared with.
//
// The cluster is the one that KUBECONFIG names, and has Sluice installed with the annotations that the suites ask for:
//
//	sluice install --record-users | kubectl apply --server-side -f -
//	make conformance
//
// Without KUBECONFIG or without Sluice the tests are skipped, and fail where CI is set.
//
// The suites reach the gateway by the node port of its Service, and the nodes pull the test images from a registry.
// These variables, which have the names that Knative's own scripts use, say where things are:
//
//	SYSTEM_NAMESPACE            namespace of Sluice; sluice-system
//	GATEWAY_OVERRIDE            name of the gateway's Service; gateway
//	GATEWAY_NAMESPACE_OVERRIDE  namespace of that Service; the namespace of Sluice
//	INGRESS_ENDPOINT            address of a node; the internal address of the first node
//	KO_DOCKER_REPO              repository that this machine can push to and the nodes can pull from, for example
//	                            registry.example.com/conformance
//
// Without KO_DOCKER_REPO the tests serve the images themselves on a loopback address. That works where the node's container
// runtime runs on the same machine, since container runtimes trust registries on loopback addresses without TLS.
//
// RUN selects tests of the suites: make conformance RUN=TestConformance/api/TestService runs those tests of the suite api
// whose names contain TestService. Built images and suites are kept in the user's cache directory, below sluice-knative.
//
// Each test of the suites must pass, or stand in the list of known.go with its reason. A listed test that passes fails the
// run, so that the list stays true.
package knative
