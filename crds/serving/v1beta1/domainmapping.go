package servingv1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// GroupVersion is the group and version of all types of this package.
var GroupVersion = schema.GroupVersion{Group: servingv1.Group, Version: "v1beta1"}

// KindDomainMapping is the kind of this package.
const KindDomainMapping = "DomainMapping"

// AddToScheme makes the types of this package known to s. It never fails; the error is what callers expect.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &DomainMapping{}, &DomainMappingList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// The types of a DomainMapping's conditions, besides Ready.
const (
	ConditionDomainClaimed          = "DomainClaimed"
	ConditionReferenceResolved      = "ReferenceResolved"
	ConditionIngressReady           = servingv1.ConditionIngressReady
	ConditionCertificateProvisioned = servingv1.ConditionCertificateProvisioned
)

// DomainMapping gives a Service or Route another host: its own name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=domainmappings,shortName=dm,categories={all,knative,serving}
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$')",messageExpression="'invalid name \"%s\": want a domain name of two or more parts, such as www.example.com'.format([self.metadata.name])"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.endsWith('.cluster.local')",messageExpression="'invalid name \"%s\": must not be a subdomain of cluster local domain \"cluster.local\"'.format([self.metadata.name])"
type DomainMapping struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec DomainMappingSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status DomainMappingStatus `json:"status,omitzero"`
}

// DomainMappingSpec is what gets the requests, and the certificate of the domain.
type DomainMappingSpec struct {
	// ref names the Service or Route that gets the requests to the domain. It is in the namespace of the DomainMapping.
	// +required
	Ref Reference `json:"ref"`
	// tls serves the domain over HTTPS with a certificate that exists already.
	// +optional
	TLS *SecretTLS `json:"tls,omitempty"`
}

// Reference names an object (Knative's KReference).
//
// +kubebuilder:validation:XValidation:rule="self.?apiVersion.orValue(\"\") != \"\" || self.?group.orValue(\"\") != \"\"",message="missing field(s): apiVersion",fieldPath=".apiVersion"
type Reference struct {
	// kind of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	Kind string `json:"kind"`
	// namespace of the object; none means that of the DomainMapping, and no other is allowed.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// apiVersion of the object.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// group of the object, without a version.
	// +optional
	Group string `json:"group,omitempty"`
	// address names one of the addresses of the object. It has no effect.
	// +optional
	Address *string `json:"address,omitempty"`
}

// SecretTLS names a Secret.
type SecretTLS struct {
	// secretName is the name of a Secret of the type kubernetes.io/tls in the namespace of the DomainMapping.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`
}

// DomainMappingStatus is where the domain is reached.
type DomainMappingStatus struct {
	servingv1.Status `json:",inline"`
	// url of the domain.
	// +optional
	URL string `json:"url,omitempty"`
	// address is the same, for objects that send events to it.
	// +optional
	Address *servingv1.Addressable `json:"address,omitempty"`
}

// DomainMappingList is a list of DomainMappings.
//
// +kubebuilder:object:root=true
type DomainMappingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DomainMapping `json:"items"`
}
