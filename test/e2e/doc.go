// Package e2e holds the tests of what users see in a cluster. They install Sluice in the cluster that KUBECONFIG names, as a user would,
// with an Envoy as the gateway, and remove it at the end. The cluster must have no Sluice and no Knative.
//
// The images are sluice.local/sluice:dev, data-plane:dev and queue-proxy:dev, sluice.local/envoy:1.40.0, and dev.local/sample:v1,
// scaler:v1, redis:v1 and grpc-client:v1. .ci/cluster up makes them and gives them to the nodes of a cluster on this machine.
package e2e
