// Package networkingv1alpha1 is the one kind of networking.internal.knative.dev/v1alpha1 that users write: ClusterDomainClaim, as Knative
// has it. See package servingv1 for what the markers on the types do.
//
// This package holds values. It must not know clients, the model, or how anything runs.
//
// +kubebuilder:object:generate=true
// +groupName=networking.internal.knative.dev
// +versionName=v1alpha1
package networkingv1alpha1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object paths=. crd:crdVersions=v1,maxDescLen=200 output:crd:dir=../../yaml
