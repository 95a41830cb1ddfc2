package servingv1

// Need is a feature of Knative's config-features that a field of a PodSpec needs. Without it Knative refuses the field.
//
// +kubebuilder:object:generate=false
type Need struct {
	// Feature is its key, such as "kubernetes.podspec-nodeselector".
	Feature string
	// Field is the name of the field in the PodSpec.
	Field string
}

// Needs returns the features that the fields of the spec need, in the order of the fields.
func (s *PodSpec) Needs() []Need {
	const of = "kubernetes.podspec-"
	var needs []Need
	for _, f := range []struct {
		used bool
		need Need
	}{
		{len(s.InitContainers) > 0, Need{of + "init-containers", "initContainers"}},
		{len(s.NodeSelector) > 0, Need{of + "nodeselector", "nodeSelector"}},
		{len(s.Tolerations) > 0, Need{of + "tolerations", "tolerations"}},
		{s.Affinity != nil, Need{of + "affinity", "affinity"}},
		{len(s.TopologySpreadConstraints) > 0, Need{of + "topologyspreadconstraints", "topologySpreadConstraints"}},
		{s.RuntimeClassName != nil, Need{of + "runtimeclassname", "runtimeClassName"}},
		{s.PriorityClassName != "", Need{of + "priorityclassname", "priorityClassName"}},
		{s.SchedulerName != "", Need{of + "schedulername", "schedulerName"}},
		{s.DNSPolicy != "", Need{of + "dnspolicy", "dnsPolicy"}},
		{s.DNSConfig != nil, Need{of + "dnsconfig", "dnsConfig"}},
		{len(s.HostAliases) > 0, Need{of + "hostaliases", "hostAliases"}},
		{s.SecurityContext != nil, Need{of + "securitycontext", "securityContext"}},
	} {
		if f.used {
			needs = append(needs, f.need)
		}
	}
	return needs
}
