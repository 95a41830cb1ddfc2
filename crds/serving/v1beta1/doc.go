// Package servingv1beta1 is the API that users write at version v1beta1: DomainMapping of serving.knative.dev/v1beta1, field for field as
// Knative has it. See package servingv1 for what the markers on the types do.
//
// This package holds values. It must not know clients, the model, or how anything runs.
//
// +kubebuilder:object:generate=true
// +groupName=serving.knative.dev
// +versionName=v1beta1
package servingv1beta1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object paths=. crd:crdVersions=v1,maxDescLen=200 output:crd:dir=../../yaml
