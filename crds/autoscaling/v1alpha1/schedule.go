package autoscalingv1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// KindScalingSchedule is the kind of schedules.
const KindScalingSchedule = "ScalingSchedule"

// ScheduleAnnotation on the template of a revision is a schedule for that revision alone: the fields of a ScheduleTimes, as YAML or JSON.
const ScheduleAnnotation = Group + "/schedule"

// ScalingSchedule plans capacity ahead: in the windows of its entries, the Services that it concerns have at least, or at most, so many
// replicas. It is fused with whatever else scales them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=scalingschedules,shortName=ssched,categories={all,sluice}
// +kubebuilder:printcolumn:name="Active",type=string,JSONPath=`.status.active`,description="Entries whose windows are open"
// +kubebuilder:printcolumn:name="Min",type=integer,JSONPath=`.status.minReplicas`
// +kubebuilder:printcolumn:name="Max",type=integer,JSONPath=`.status.maxReplicas`
// +kubebuilder:printcolumn:name="Until",type=string,JSONPath=`.status.until`,description="When this changes next"
// +kubebuilder:printcolumn:name="Services",type=integer,JSONPath=`.status.services`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
type ScalingSchedule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec ScalingScheduleSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status ScalingScheduleStatus `json:"status,omitzero"`
}

// ScalingScheduleSpec says which Services a schedule concerns, and when it asks for what.
//
// +kubebuilder:validation:XValidation:rule="has(self.services) && size(self.services) > 0 || has(self.selector)",message="want services, selector or both"
type ScalingScheduleSpec struct {
	// services are names of Services in the namespace of the schedule. Services that selector selects are concerned too.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Services []string `json:"services,omitempty"`
	// selector selects Services in the namespace of the schedule by their labels; an empty one selects all.
	// +optional
	Selector      *metav1.LabelSelector `json:"selector,omitempty"`
	ScheduleTimes `json:",inline"`
}

// ScheduleTimes say when a schedule asks for what.
type ScheduleTimes struct {
	// timeZone is the IANA name of the time zone of all crons, such as Europe/Berlin. The default is UTC.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`
	// lead is how long before a window its replicas are started, from 0s to 1h. The default is as long as they were observed to take.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(s|m|h))+$') && duration(self) <= duration('1h')",message="want a duration from 0s to 1h, such as 2m"
	Lead string `json:"lead,omitempty"`
	// entries are the windows. Of those that are open at the same time, the largest minReplicas and the smallest maxReplicas count.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	Entries []ScheduleEntry `json:"entries"`
}

// ScheduleEntry is a window that opens again and again.
//
// +kubebuilder:validation:XValidation:rule="has(self.duration) != has(self.end)",message="want exactly one of duration and end"
// +kubebuilder:validation:XValidation:rule="!has(self.end) || self.end != self.start",message="end is the same as start, so a window would never close"
// +kubebuilder:validation:XValidation:rule="has(self.minReplicas) || has(self.maxReplicas)",message="want minReplicas, maxReplicas or both"
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || !has(self.maxReplicas) || self.maxReplicas >= self.minReplicas",message="maxReplicas must not be less than minReplicas"
type ScheduleEntry struct {
	// name of the entry, which decisions and the status show.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="want lower case letters, digits and dashes, such as office-hours"
	Name string `json:"name"`
	// start is the cron of the moments at which a window opens: minute, hour, day of month, month, day of week.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Start string `json:"start"`
	// duration is how long a window is open, in elapsed time, from 1s to 8784h.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('8784h')",message="want a duration from 1s to 8784h, such as 10h or 90m"
	Duration string `json:"duration,omitempty"`
	// end is the cron of the moments at which a window closes.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	End string `json:"end,omitempty"`
	// minReplicas is how many replicas run at least while a window is open.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	// maxReplicas is how many replicas run at most while a window is open.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
}

// ScalingScheduleStatus is what the schedule asks for now.
type ScalingScheduleStatus struct {
	servingv1.Status `json:",inline"`
	// active are the names of the entries whose windows are open, separated by commas.
	// +optional
	Active string `json:"active,omitempty"`
	// minReplicas is the least number of replicas that the open windows ask for.
	// +optional
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	// maxReplicas is the largest number of replicas that the open windows allow.
	// +optional
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
	// until is when this changes next (RFC 3339), in the time zone of the schedule.
	// +optional
	// +kubebuilder:validation:Format=date-time
	Until string `json:"until,omitempty"`
	// services is how many Services the schedule concerns.
	// +optional
	Services *int32 `json:"services,omitempty"`
}

// ScalingScheduleList is a list of ScalingSchedules.
//
// +kubebuilder:object:root=true
type ScalingScheduleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScalingSchedule `json:"items"`
}
