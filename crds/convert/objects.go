package convert

import (
	"maps"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// ConfigurationOf makes the Configuration that a Service owns: its template, labels and annotations. The template gets no defaults: these
// are configured, and a change of the configuration must make no new revision.
func ConfigurationOf(s *servingv1.Service) *servingv1.Configuration {
	return &servingv1.Configuration{
		TypeMeta: typeMeta(servingv1.KindConfiguration),
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name, Namespace: s.Namespace,
			Labels: with(s.Labels, map[string]string{
				servingv1.ServiceLabel: s.Name, servingv1.ServiceUIDLabel: string(s.UID),
			}),
			Annotations: without(with(s.Annotations, map[string]string{servingv1.RoutesAnnotation: s.Name}),
				append(servingv1.RouteAnnotations, servingv1.LastAppliedAnnotation)...),
			OwnerReferences: ownedBy(s, servingv1.KindService),
		},
		Spec: *s.Spec.ConfigurationSpec.DeepCopy(),
	}
}

// RouteOf makes the Route that a Service owns. Targets that name no revision follow the Service's own Configuration.
func RouteOf(s *servingv1.Service) *servingv1.Route {
	spec := s.Spec.DeepCopy()
	spec.SetDefaults()
	for i := range spec.Traffic {
		if t := &spec.Traffic[i]; t.RevisionName == "" {
			t.ConfigurationName = s.Name
		}
	}
	return &servingv1.Route{
		TypeMeta: typeMeta(servingv1.KindRoute),
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name, Namespace: s.Namespace,
			Labels:          with(s.Labels, map[string]string{servingv1.ServiceLabel: s.Name}),
			Annotations:     without(with(s.Annotations, nil), servingv1.LastAppliedAnnotation),
			OwnerReferences: ownedBy(s, servingv1.KindService),
		},
		Spec: servingv1.RouteSpec{Traffic: spec.Traffic},
	}
}

// RevisionOf makes a Revision of a Configuration's current template, with the defaults of now, which it keeps. If a Route follows the
// Configuration, as a Service's does from the start, the Revision counts as routed at once.
func RevisionOf(c *servingv1.Configuration, name string, defaults *servingv1.Defaults) *servingv1.Revision {
	template := &c.Spec.Template
	labels := map[string]string{
		servingv1.ConfigurationLabel:           c.Name,
		servingv1.ConfigurationUIDLabel:        string(c.UID),
		servingv1.ConfigurationGenerationLabel: strconv.FormatInt(c.Generation, 10),
		servingv1.RoutingStateLabel:            servingv1.RoutingStatePending,
	}
	for _, key := range []string{servingv1.ServiceLabel, servingv1.ServiceUIDLabel} {
		if v, ok := c.Labels[key]; ok {
			labels[key] = v
		}
	}
	annotations := map[string]string{}
	if routes := c.Annotations[servingv1.RoutesAnnotation]; routes != "" {
		annotations[servingv1.RoutesAnnotation] = routes
		labels[servingv1.RoutingStateLabel] = servingv1.RoutingStateActive
	}
	if _, user := annotation(c.Annotations, servingv1.LastModifierAnnotation, servingv1.CreatorAnnotation); user != "" {
		annotations[servingv1.CreatorAnnotation] = user
	}
	r := &servingv1.Revision{
		TypeMeta: typeMeta(servingv1.KindRevision),
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: c.Namespace,
			Labels: with(template.Metadata.Labels, labels),
			Annotations: without(with(template.Metadata.Annotations, annotations),
				servingv1.LastAppliedAnnotation, servingv1.TemplateAnnotation),
			OwnerReferences: ownedBy(c, servingv1.KindConfiguration),
		},
		Spec: *template.Spec.DeepCopy(),
	}
	defaults.Apply(&r.Spec, c.ObjectMeta)
	if before := templateOf(&template.Spec); before != fingerprint(&r.Spec) {
		r.Annotations = with(r.Annotations, map[string]string{servingv1.TemplateAnnotation: before})
	}
	return r
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: servingv1.GroupVersion.String(), Kind: kind}
}

func ownedBy(o metav1.Object, kind string) []metav1.OwnerReference {
	return []metav1.OwnerReference{*metav1.NewControllerRef(o, servingv1.GroupVersion.WithKind(kind))}
}

// with returns a copy of m with the entries of more, which win.
func with(m, more map[string]string) map[string]string {
	out := make(map[string]string, len(m)+len(more))
	maps.Copy(out, m)
	maps.Copy(out, more)
	return out
}

// without deletes keys from m. If m is empty after that, it returns nil, as the API does.
func without(m map[string]string, keys ...string) map[string]string {
	for _, k := range keys {
		delete(m, k)
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
