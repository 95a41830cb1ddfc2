package main

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
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// policyFlags say which policy is meant.
type policyFlags struct {
	files       []string
	service     string
	annotations []string
	concurrency int
	config      string
}

func (f *policyFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.files, "filename", "f", nil, "manifest file or folder with a Service, Configuration or Revision; may be repeated")
	flags.StringVar(&f.service, "service", "", "which one, where there are several: its name, or NAMESPACE/NAME")
	flags.StringArrayVar(&f.annotations, "annotation", nil, "annotation of the revision, KEY=VALUE; may be repeated")
	flags.IntVar(&f.concurrency, "container-concurrency", -1, "how many requests a replica works on at a time, 0 for no limit; by default that of -f, else 0")
	flags.StringVar(&f.config, "config", "", "YAML file with the keys of Knative's config-autoscaler")
}

// policy is what scales a revision, before it becomes a model.Scaling.
type policy struct {
	name        string
	config      autoscaler.Config
	annotations map[string]string
	concurrency int
	progress    time.Duration // deadline
	timeout     time.Duration
	// ignored are the keys of --config that nothing reads.
	ignored []string
}

func (p *policy) scaling() model.Scaling {
	return autoscaler.Policy(&p.config, autoscaler.Template{Annotations: p.annotations, Concurrency: p.concurrency, ProgressDeadline: p.progress})
}

// read makes the policy of manifest, flags and configuration.
func (f *policyFlags) read() (policy, error) {
	p := policy{annotations: map[string]string{}, timeout: servingv1.DefaultTimeoutSeconds * time.Second}
	if len(f.files) > 0 {
		template, name, err := f.template()
		if err != nil {
			return policy{}, err
		}
		p.fill(template)
		p.name = name
	} else if f.service != "" {
		return policy{}, fmt.Errorf("--service %s needs a manifest to look for it in: name a file with -f", f.service)
	}
	if f.concurrency >= 0 {
		p.concurrency = f.concurrency
	}
	var err error
	if p.config, p.ignored, err = readAutoscalerConfig(f.config); err != nil {
		return policy{}, err
	}
	checked, err := p.with(f.annotations)
	if err != nil && p.name != "" {
		err = fmt.Errorf("%s: %w", p.name, err)
	}
	return checked, err
}

// template is the part of an object that revisions are made from.
type template struct {
	annotations map[string]string
	spec        *servingv1.RevisionSpec
}

func (p *policy) fill(t template) {
	maps.Copy(p.annotations, t.annotations)
	if c := t.spec.ContainerConcurrency; c != nil {
		p.concurrency = int(*c)
	}
	if s := t.spec.TimeoutSeconds; s != nil && *s > 0 {
		p.timeout = time.Duration(*s) * time.Second
	}
	// The API server has checked it; what cannot be read counts as absent.
	p.progress, _ = time.ParseDuration(t.annotations[servingv1.ProgressDeadlineAnnotation])
}

// with is the policy with other annotations over its own, checked.
func (p policy) with(pairs []string) (policy, error) {
	p.annotations = maps.Clone(p.annotations)
	for _, pair := range pairs {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || key == "" {
			return policy{}, fmt.Errorf("annotation %q is not KEY=VALUE, such as target=10", pair)
		}
		if !strings.Contains(key, "/") {
			// A flag is typed by hand, so that a name that is not known is taken for a mistake; Knative leaves it alone.
			full, known := autoscaler.Annotation(key)
			if !known {
				return policy{}, fmt.Errorf("annotation %q is not known: want one of %s, or a key with its group", key, strings.Join(autoscaler.Names(), ", "))
			}
			key = full
		}
		p.annotations[key] = value
	}
	if err := autoscaler.Validate(&p.config, p.annotations); err != nil {
		return policy{}, err
	}
	if class := p.scaling().Class; class != autoscaler.KPA {
		return policy{}, fmt.Errorf("its autoscaler is %s, and only %s can be simulated: leave the annotation %s/class out", class, autoscaler.KPA, servingv1.AutoscalingGroup)
	}
	return p, nil
}

// template finds the object that is meant, and its name.
func (f *policyFlags) template() (template, string, error) {
	documents, err := manifest.Read(f.files)
	if err != nil {
		return template{}, "", err
	}
	p := preview{objects: map[model.Ref]int{}}
	var wrong []error // told only where what is meant is not found: another document may be nobody's business here
	for _, d := range documents {
		if d.Err == nil {
			d.Err = p.add(d.Object)
		}
		if d.Err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", d.Source, d.Err))
		}
	}
	found := f.named(p.all)
	switch names := slices.Sorted(maps.Keys(found)); {
	case len(names) == 1:
		return found[names[0]], names[0], nil
	case len(names) > 1:
		err = fmt.Errorf("there are several to simulate: choose one with --service: %s", strings.Join(names, ", "))
	default:
		err = errors.Join(append([]error{f.absent(p.all)}, wrong...)...)
	}
	return template{}, "", err
}

// named are the templates of the objects that --service can mean, by kind and name.
func (f *policyFlags) named(all []crds.Object) map[string]template {
	found := map[string]template{}
	for _, o := range all {
		name := o.GetNamespace() + "/" + o.GetName()
		if t, ok := templateOf(o); ok && (f.service == "" || f.service == o.GetName() || f.service == name) {
			found[o.GetObjectKind().GroupVersionKind().Kind+" "+name] = t
		}
	}
	return found
}

// absent says what there is instead.
func (f *policyFlags) absent(all []crds.Object) error {
	names := slices.Sorted(maps.Keys((&policyFlags{}).named(all)))
	if len(names) == 0 {
		return fmt.Errorf("no Service, Configuration or Revision to simulate is in %s (-f)", strings.Join(f.files, ", "))
	}
	return fmt.Errorf("none is named %q (--service): there are %s", f.service, strings.Join(names, ", "))
}

func templateOf(o crds.Object) (template, bool) {
	switch o := o.(type) {
	case *servingv1.Service:
		return template{o.Spec.Template.Metadata.Annotations, &o.Spec.Template.Spec}, true
	case *servingv1.Configuration:
		return template{o.Spec.Template.Metadata.Annotations, &o.Spec.Template.Spec}, true
	case *servingv1.Revision:
		return template{o.Annotations, &o.Spec}, true
	}
	return template{}, false
}
