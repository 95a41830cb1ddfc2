package servingv1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Route is a name in the network, and the revisions behind it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=routes,shortName=rt,categories={all,knative,serving}
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name is not a DNS 1035 label: up to 63 lower-case letters, digits and dashes, the first a letter"
type Route struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec RouteSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status RouteStatus `json:"status,omitzero"`
}

// RouteSpec is how traffic is split.
type RouteSpec struct {
	// traffic splits requests between revisions; percents sum to 100.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.all(t, (t.?revisionName.orValue('') == '') != (t.?configurationName.orValue('') == ''))",messageExpression="'expected exactly one, got %s: revisionName, configurationName'.format([self.exists(t, t.?revisionName.orValue('') == '' && t.?configurationName.orValue('') == '') ? 'neither' : 'both'])"
	Traffic Traffic `json:"traffic,omitempty"`
}

// Traffic is a split of requests as the user wants it.
//
// +kubebuilder:validation:MaxItems=200
// +kubebuilder:validation:XValidation:rule="self.map(t, t.?percent.orValue(0)).sum() == 100",messageExpression="'Traffic targets sum to %d, want 100'.format([self.map(t, t.?percent.orValue(0)).sum()])"
// +kubebuilder:validation:XValidation:rule="self.all(t, t.?tag.orValue(\"\") == \"\" || self.exists_one(u, u.?tag.orValue(\"\") == t.tag))",messageExpression="'Multiple definitions for \"%s\"'.format([self.filter(t, t.?tag.orValue(\"\") != \"\" && !self.exists_one(u, u.?tag.orValue(\"\") == t.tag))[0].tag])"
// +kubebuilder:validation:items:XValidation:rule="self.?url.orValue(\"\") == \"\"",message="must not set the field(s): url"
// +kubebuilder:validation:items:XValidation:rule="!has(self.latestRevision) || self.latestRevision == (self.?revisionName.orValue(\"\") == \"\")",messageExpression="'may not set revisionName \"%s\" when latestRevision is %s'.format([self.?revisionName.orValue(\"\"), self.latestRevision])",fieldPath=".latestRevision"
// +kubebuilder:validation:items:XValidation:rule="self.?tag.orValue(\"\") == \"\" || self.tag.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="not a DNS 1035 label: lower-case letters, digits and dashes, the first a letter",fieldPath=".tag"
// +listType=atomic
type Traffic []TrafficTarget

// TrafficTarget is a share of requests and who gets it. In a spec it names one of a revision and a configuration
// (a Service's own configuration when it names neither); in a status it always names a revision.
type TrafficTarget struct {
	// tag gives this target a host of its own, with this prefix. A DNS-1035 label, unique in the list.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Tag string `json:"tag,omitempty"`
	// revisionName is the revision that gets the requests.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`
	RevisionName string `json:"revisionName,omitempty"`
	// configurationName is the configuration whose latest ready revision gets the requests. Not in a Service.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`
	ConfigurationName string `json:"configurationName,omitempty"`
	// latestRevision says whether this target follows the latest ready revision; it is the same as having no revisionName.
	// +optional
	LatestRevision *bool `json:"latestRevision,omitempty"`
	// percent of the requests, 0 to 100. A target of 0 percent exists for its tag.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int64 `json:"percent,omitempty"`
	// url of a tagged target; only in a status.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url,omitempty"`
}

// RouteStatus is where the Route is reached and which revisions answer.
type RouteStatus struct {
	Status            `json:",inline"`
	RouteStatusFields `json:",inline"`
}

// RouteStatusFields are the fields of RouteStatus that a Service repeats.
type RouteStatusFields struct {
	// url that clients use.
	// +optional
	URL string `json:"url,omitempty"`
	// address within the cluster.
	// +optional
	Address *Addressable `json:"address,omitempty"`
	// traffic is the split in effect: every target names its revision.
	// +optional
	// +listType=atomic
	Traffic []TrafficTarget `json:"traffic,omitempty"`
}

// RouteList is a list of Routes.
//
// +kubebuilder:object:root=true
type RouteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Route `json:"items"`
}
