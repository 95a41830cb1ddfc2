package servingv1

import (
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SetDefaults fills in what the user left out. Without traffic targets the latest ready revision gets all requests.
func (s *ServiceSpec) SetDefaults() {
	s.ConfigurationSpec.SetDefaults()
	if len(s.Traffic) == 0 {
		s.Traffic = Traffic{{Percent: new(int64(100))}}
	}
	s.Traffic.setDefaults()
}

// SetDefaults fills in what the user left out.
func (s *ConfigurationSpec) SetDefaults() { s.Template.Spec.SetDefaults() }

// SetDefaults fills in what the user left out.
func (s *RouteSpec) SetDefaults() { s.Traffic.setDefaults() }

func (t Traffic) setDefaults() {
	for i := range t {
		target := &t[i]
		if target.LatestRevision == nil {
			target.LatestRevision = new(target.RevisionName == "")
		}
		if target.Percent == nil {
			target.Percent = new(int64(0))
		}
	}
}

// SetDefaults fills in what the user left out, by Knative's own defaults: limits of requests, names of containers and the readiness probe.
func (s *RevisionSpec) SetDefaults() {
	d := KnativeDefaults()
	d.Apply(s, metav1.ObjectMeta{})
}

// ServingContainer returns the container that takes requests: the one that has ports, or the only one. It is nil when
// several containers have none.
func (s *PodSpec) ServingContainer() *Container {
	if len(s.Containers) == 1 {
		return &s.Containers[0]
	}
	for i := range s.Containers {
		if len(s.Containers[i].Ports) > 0 {
			return &s.Containers[i]
		}
	}
	return nil
}

// nameContainers names the containers that have no name: the given name, or the name with -0, -1 … if there are several.
func (s *PodSpec) nameContainers(given string) {
	taken := func(name string) bool {
		return slices.ContainsFunc(s.Containers, func(c Container) bool { return c.Name == name })
	}
	next := 0
	for i := range s.Containers {
		if s.Containers[i].Name != "" {
			continue
		}
		name := given
		for len(s.Containers) > 1 {
			name = given + "-" + strconv.Itoa(next)
			next++
			if !taken(name) {
				break
			}
		}
		s.Containers[i].Name = name
	}
}

// defaultReadiness makes sure that there is a probe and that it has a handler. A period of 0 stays: it means aggressive
// probing, which does not use the other figures.
func (c *Container) defaultReadiness() {
	if c.ReadinessProbe == nil {
		c.ReadinessProbe = &Probe{}
	}
	p := c.ReadinessProbe
	if p.HTTPGet == nil && p.TCPSocket == nil && p.Exec == nil && p.GRPC == nil {
		p.TCPSocket = &TCPSocketAction{}
	}
	if p.SuccessThreshold == 0 {
		p.SuccessThreshold = 1
	}
	if p.PeriodSeconds != 0 {
		if p.FailureThreshold == 0 {
			p.FailureThreshold = 3
		}
		if p.TimeoutSeconds == 0 {
			p.TimeoutSeconds = 1
		}
	}
}

// mountReadOnly sets readOnly on mounts of volumes that cannot be written.
func (s *PodSpec) mountReadOnly() {
	for _, v := range s.Volumes {
		if v.ConfigMap == nil && v.Secret == nil && v.Projected == nil {
			continue
		}
		for i := range s.Containers {
			for j := range s.Containers[i].VolumeMounts {
				if m := &s.Containers[i].VolumeMounts[j]; m.Name == v.Name {
					m.ReadOnly = true
				}
			}
		}
	}
}
