package manifest

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/crds"
	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// Set is the objects of documents as the API server would keep them. The zero value is empty.
type Set struct {
	all      []crds.Object
	mappings []*servingv1beta1.DomainMapping // each once
	byID     map[model.Ref]int               // index into all
}

// Add adds an object with its defaults, after a look at the rules of package crds; those in the schema are for the API server alone. It
// replaces an earlier object of the same kind and name.
func (s *Set) Add(u *unstructured.Unstructured) error {
	if u.GetKind() == servingv1beta1.KindDomainMapping && u.GetAPIVersion() == servingv1beta1.GroupVersion.String() {
		return s.addMapping(u)
	}
	o := crds.New(u.GetKind())
	if o == nil || u.GetAPIVersion() != servingv1.Group+"/v1" {
		return fmt.Errorf("%s of %s is not translated: Service, Configuration, Revision and Route of "+
			"serving.knative.dev/v1 and DomainMapping of serving.knative.dev/v1beta1 are", u.GetKind(), u.GetAPIVersion())
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, o, true); err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	if o.GetNamespace() == "" {
		o.SetNamespace("default")
	}
	ref := model.Ref{Kind: u.GetKind(), Key: model.Key{Namespace: o.GetNamespace(), Name: o.GetName()}}
	crds.Default(o, nil, "")
	if problems := crds.Validate(o); len(problems) > 0 {
		return fmt.Errorf("%s: %w", ref, problems.ToAggregate())
	}
	// The API server would set both; here a name is as unique as a UID.
	o.SetUID(types.UID(ref.String()))
	o.SetGeneration(1)
	if at, again := s.byID[ref]; again {
		o.SetGeneration(s.all[at].GetGeneration() + 1)
		s.all[at] = o
		return nil
	}
	if s.byID == nil {
		s.byID = map[model.Ref]int{}
	}
	s.byID[ref] = len(s.all)
	s.all = append(s.all, o)
	return nil
}

// addMapping adds a DomainMapping, in place of an earlier one of its name.
func (s *Set) addMapping(u *unstructured.Unstructured) error {
	m := &servingv1beta1.DomainMapping{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, m, true); err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	if m.Namespace == "" {
		m.Namespace = "default"
	}
	same := func(o *servingv1beta1.DomainMapping) bool { return o.Namespace == m.Namespace && o.Name == m.Name }
	if i := slices.IndexFunc(s.mappings, same); i >= 0 {
		s.mappings[i] = m
		return nil
	}
	s.mappings = append(s.mappings, m)
	return nil
}

// Objects returns the objects but DomainMappings in the order in which they were first added.
func (s *Set) Objects() []crds.Object { return s.all }

// World is what the objects become when every revision is ready: with the Configurations and Routes that Services own. Domain is that
// of the services' URLs.
func (s *Set) World(domain string) (*model.World, []model.Problem) {
	p := rollout.Preview{Options: rollout.Options{Domain: domain}}
	for _, o := range s.all {
		switch o := o.(type) {
		case *servingv1.Service:
			c := convert.ConfigurationOf(o)
			c.UID, c.Generation = types.UID("Configuration "+o.Name), o.Generation
			p.Configurations = append(p.Configurations, convert.Configuration(c))
			p.Routes = append(p.Routes, convert.Route(convert.RouteOf(o)))
		case *servingv1.Configuration:
			p.Configurations = append(p.Configurations, convert.Configuration(o))
		case *servingv1.Route:
			p.Routes = append(p.Routes, convert.Route(o))
		case *servingv1.Revision:
			p.Revisions = append(p.Revisions, convert.Revision(o))
		}
	}
	var problems []model.Problem
	for _, m := range s.mappings {
		p.Mappings = append(p.Mappings, convert.Mapping(m))
		problems = append(problems, convert.MappingProblems(m)...)
	}
	world, more := p.World()
	return world, append(problems, more...)
}
