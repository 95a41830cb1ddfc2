// Package servingv1 is the API that users write: Service, Configuration, Revision and Route of serving.knative.dev/v1,
// field for field as Knative has them, as plain Go structs.
//
// The markers on the types are the whole of the validation that a cluster does: controller-gen makes schemas and CEL
// rules of them, so no webhook has to run. Rules use Knative's own messages where users know them. The pod spec is an
// allow-list of our own: it has the fields that Knative lets through in its default configuration, under corev1's names
// and with corev1's JSON, so that its JSON is always a valid corev1.PodSpec.
//
// In the doc comment of a type, a rule writes the empty string as \"\": gofmt makes one typographic quote of two single ones.
//
// This package holds values and their defaults. It must not know clients, the model, or how anything runs.
//
// +kubebuilder:object:generate=true
// +groupName=serving.knative.dev
// +versionName=v1
package servingv1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object paths=. crd:crdVersions=v1,maxDescLen=200 output:crd:dir=../../yaml
