// Package policy finds the scaling policy of a revision before it exists: from manifests, annotations and the configuration of the
// autoscaler. It must not know what the policy is for.
package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/crds"
	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Source says where a policy comes from.
type Source struct {
	Files       []string // manifest files and folders
	Service     string   // which object of them, NAME or NAMESPACE/NAME; empty: the only one
	Annotations []string // KEY=VALUE, over those of the object
	Concurrency int      // containerConcurrency; below 0 that of the object, else 0
	Config      string   // file for ReadConfig; empty: Knative's defaults
}

// AddFlags adds the flags.
func (s *Source) AddFlags(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&s.Files, "filename", "f", nil,
		"manifest file or folder with a Service, Configuration or Revision; may be repeated")
	flags.StringVar(&s.Service, "service", "", "which one, where there are several: its name, or NAMESPACE/NAME")
	flags.StringArrayVar(&s.Annotations, "annotation", nil, "annotation of the revision, KEY=VALUE; may be repeated")
	flags.IntVar(&s.Concurrency, "container-concurrency", -1,
		"how many requests a replica works on at a time, 0 for no limit; by default that of -f, else 0")
	flags.StringVar(&s.Config, "config", "", "YAML file with the keys of Knative's config-autoscaler")
}

// Policy is what scales a revision, before it becomes a model.Scaling.
type Policy struct {
	Name        string        // kind, namespace and name of its object; empty without one
	Concurrency int           // containerConcurrency; 0 is no limit
	Timeout     time.Duration // of a request
	Unknown     []string      // keys of Source.Config that nothing reads

	// planned are the schedules of its files that concern its Service.
	planned     []*model.Schedule
	config      autoscaler.Config
	annotations map[string]string
	progress    time.Duration // deadline
}

// Scaling is the policy as the autoscaler takes it.
func (p *Policy) Scaling() model.Scaling {
	template := autoscaler.Template{
		Annotations: p.annotations, Concurrency: p.Concurrency, ProgressDeadline: p.progress,
		Source: model.MetricsSource(p.annotations[servingv1.MetricsSourceAnnotation]),
	}
	return autoscaler.Policy(&p.config, template)
}

// Read makes the policy of manifests, annotations and configuration.
func (s *Source) Read() (Policy, error) {
	p := Policy{annotations: map[string]string{}, Timeout: servingv1.DefaultTimeoutSeconds * time.Second}
	if len(s.Files) > 0 {
		template, name, err := s.template()
		if err != nil {
			return Policy{}, err
		}
		p.planned = template.planned
		p.fill(template)
		p.Name = name
	} else if s.Service != "" {
		return Policy{}, fmt.Errorf("--service %s needs a manifest to look for it in: name a file with -f", s.Service)
	}
	if s.Concurrency >= 0 {
		p.Concurrency = s.Concurrency
	}
	var err error
	if p.config, p.Unknown, err = ReadConfig(s.Config); err != nil {
		return Policy{}, err
	}
	checked, err := p.With(s.Annotations)
	if err != nil && p.Name != "" {
		err = fmt.Errorf("%s: %w", p.Name, err)
	}
	return checked, err
}

// template is the part of an object that revisions are made from.
type template struct {
	annotations map[string]string
	spec        *servingv1.RevisionSpec
	service     *servingv1.Service // nil when the object is none
	planned     []*model.Schedule
}

func (p *Policy) fill(t template) {
	maps.Copy(p.annotations, t.annotations)
	if c := t.spec.ContainerConcurrency; c != nil {
		p.Concurrency = int(*c)
	}
	if seconds := t.spec.TimeoutSeconds; seconds != nil && *seconds > 0 {
		p.Timeout = time.Duration(*seconds) * time.Second
	}
	// The rules of the API have checked it; a value that cannot be read counts as absent.
	p.progress, _ = time.ParseDuration(t.annotations[servingv1.ProgressDeadlineAnnotation])
}

// With is the policy with other annotations, KEY=VALUE, over its own, checked. A key of the autoscaling group needs no group.
func (p Policy) With(pairs []string) (Policy, error) {
	p.annotations = maps.Clone(p.annotations)
	for _, pair := range pairs {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || key == "" {
			return Policy{}, fmt.Errorf("annotation %q is not KEY=VALUE, such as target=10", pair)
		}
		if !strings.Contains(key, "/") {
			// Knative ignores unknown names, but people type these, so that one is a mistake.
			full, known := autoscaler.Annotation(key)
			if !known {
				return Policy{}, fmt.Errorf("annotation %q is not known: want one of %s, or a key with "+
					"its group", key, strings.Join(autoscaler.Names(), ", "))
			}
			key = full
		}
		p.annotations[key] = value
	}
	if err := autoscaler.Validate(&p.config, p.annotations); err != nil {
		return Policy{}, err
	}
	if class := p.Scaling().Class; class != autoscaler.KPA {
		return Policy{}, fmt.Errorf("its autoscaler is %s, and only %s can be simulated: leave the annotation "+
			"%s/class out", class, autoscaler.KPA, servingv1.AutoscalingGroup)
	}
	return p, nil
}

// template finds the object and its name.
func (s *Source) template() (template, string, error) {
	documents, err := manifest.Read(s.Files)
	if err != nil {
		return template{}, "", err
	}
	var set manifest.Set
	var wrong []error // reported only when the object is not found: other documents do not matter here
	var plans plans
	for _, d := range documents {
		if d.Err == nil && d.Object.GetKind() == autoscalingv1alpha1.KindScalingSchedule {
			if err := plans.add(d.Object); err != nil {
				return template{}, "", fmt.Errorf("%s: %w", d.Source, err)
			}
			continue
		}
		if d.Err == nil {
			d.Err = set.Add(d.Object)
		}
		if d.Err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", d.Source, d.Err))
		}
	}
	found := s.named(set.Objects())
	switch names := slices.Sorted(maps.Keys(found)); {
	case len(names) == 1:
		one := found[names[0]]
		one.planned, err = plans.of(one.service)
		return one, names[0], err
	case len(names) > 1:
		err = fmt.Errorf("there are several to simulate: choose one with --service: %s", strings.Join(names, ", "))
	default:
		err = errors.Join(append([]error{s.absent(set.Objects())}, wrong...)...)
	}
	return template{}, "", err
}

// named are the templates of the objects that --service can mean, by kind and name.
func (s *Source) named(all []crds.Object) map[string]template {
	found := map[string]template{}
	for _, o := range all {
		name := o.GetNamespace() + "/" + o.GetName()
		if t, ok := templateOf(o); ok && (s.Service == "" || s.Service == o.GetName() || s.Service == name) {
			found[o.GetObjectKind().GroupVersionKind().Kind+" "+name] = t
		}
	}
	return found
}

// absent is the error of an object that was not found. It lists the objects that were.
func (s *Source) absent(all []crds.Object) error {
	names := slices.Sorted(maps.Keys((&Source{}).named(all)))
	if len(names) == 0 {
		return fmt.Errorf("no Service, Configuration or Revision to simulate is in %s (-f)", strings.Join(s.Files, ", "))
	}
	return fmt.Errorf("none is named %q (--service): there are %s", s.Service, strings.Join(names, ", "))
}

func templateOf(o crds.Object) (template, bool) {
	switch o := o.(type) {
	case *servingv1.Service:
		return template{annotations: o.Spec.Template.Metadata.Annotations, spec: &o.Spec.Template.Spec, service: o}, true
	case *servingv1.Configuration:
		return template{annotations: o.Spec.Template.Metadata.Annotations, spec: &o.Spec.Template.Spec}, true
	case *servingv1.Revision:
		return template{annotations: o.Annotations, spec: &o.Spec}, true
	}
	return template{}, false
}
