// Package autoscalingv1alpha1 is the kinds by which users say more about scaling than Knative's annotations can: autoscaling.sluice.dev.
// See package servingv1 for what the markers on the types do.
//
// This package holds values. It must not know clients, the model, or how anything runs.
//
// +kubebuilder:object:generate=true
// +groupName=autoscaling.sluice.dev
// +versionName=v1alpha1
package autoscalingv1alpha1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object paths=. crd:crdVersions=v1,maxDescLen=200 output:crd:dir=../../yaml
