package autoscalingv1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the group of the API.
const Group = "autoscaling.sluice.dev"

// GroupVersion is the group and version of all types of this package.
var GroupVersion = schema.GroupVersion{Group: Group, Version: "v1alpha1"}

// AddToScheme makes the types of this package known to s. It never fails; the error is what callers expect.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &RevisionScale{}, &RevisionScaleList{}, &ScalerBinding{}, &ScalerBindingList{}, &ScalingSchedule{},
		&ScalingScheduleList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
