// Package e2e tests Sluice in a real Kubernetes cluster, that of KUBECONFIG. Its nodes must have the images that these variables name:
// SLUICE_IMAGE, which also runs `sluice sample`, SLUICE_QUEUE_PROXY_IMAGE and SLUICE_ENVOY_IMAGE. Without them the tests are skipped.
package e2e
