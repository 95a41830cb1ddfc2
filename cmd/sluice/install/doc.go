// Package install makes what a cluster needs to run Sluice: Options become Kubernetes objects, and these become YAML. The same Options
// make the same bytes. Package chart makes a kustomize base and a Helm chart of the same objects.
//
// It has pure functions over values. It must not know clients, and not how the parts work: what it has of them are their flags, ports,
// probes, the kinds that they read and write, and the names that they give to Secrets and to the Lease.
package install
