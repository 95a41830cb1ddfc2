package servingv1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of all types of this package.
const Group = "serving.knative.dev"

// GroupVersion is the group and version of all types of this package.
var GroupVersion = schema.GroupVersion{Group: Group, Version: "v1"}

// The kinds of this package.
const (
	KindService       = "Service"
	KindConfiguration = "Configuration"
	KindRevision      = "Revision"
	KindRoute         = "Route"
)

// AddToScheme makes the types of this package known to s. It never fails; the error is what callers expect.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&Service{}, &ServiceList{},
		&Configuration{}, &ConfigurationList{},
		&Revision{}, &RevisionList{},
		&Route{}, &RouteList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
