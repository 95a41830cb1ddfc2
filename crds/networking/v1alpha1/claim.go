package networkingv1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of all types of this package.
var GroupVersion = schema.GroupVersion{Group: "networking.internal.knative.dev", Version: "v1alpha1"}

// KindClusterDomainClaim is the kind of this package.
const KindClusterDomainClaim = "ClusterDomainClaim"

// AddToScheme makes the types of this package known to s. It never fails; the error is what callers expect.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &ClusterDomainClaim{}, &ClusterDomainClaimList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// ClusterDomainClaim gives a domain, its name, to one namespace: no DomainMapping of another namespace may have it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=clusterdomainclaims,scope=Cluster,shortName=cdc,categories={knative-internal,networking}
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.namespace`
type ClusterDomainClaim struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec ClusterDomainClaimSpec `json:"spec"`
}

// ClusterDomainClaimSpec says whose the domain is.
type ClusterDomainClaimSpec struct {
	// namespace whose DomainMapping may have the domain.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
}

// ClusterDomainClaimList is a list of ClusterDomainClaims.
//
// +kubebuilder:object:root=true
type ClusterDomainClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterDomainClaim `json:"items"`
}

// AutomaticLabel with "true" is on a claim that a DomainMapping made. It goes with the DomainMapping.
const AutomaticLabel = "sluice.dev/automatic-claim"
