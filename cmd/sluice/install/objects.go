package install

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sluice.dev/sluice/config"
	"sluice.dev/sluice/crds"
)

// Object is a pointer to a Kubernetes object, with its kind.
type Object interface {
	runtime.Object
	metav1.Object
}

// Roles of the pods of an installation. They are also the names of Deployments, Services and ServiceAccounts.
const (
	controller = "controller"
	activator  = "activator"
	gateway    = "gateway"
)

// Labels of everything in an installation. A pod has both.
const (
	PartOf    = "app.kubernetes.io/part-of"
	component = "app.kubernetes.io/component"
	product   = "sluice"
)

// Part is a group of objects that belong together, in the order in which they are applied.
type Part struct {
	Name    string // of a file
	Objects []Object
}

// Parts returns all objects of an installation. They can be applied in this order, and in one go: namespaces come before what is in them,
// definitions before what is defined, and Services before the pods that find them in their environment.
func Parts(o Options) ([]Part, error) {
	definitions, err := crds.Definitions()
	if err != nil {
		return nil, err
	}
	crd := Part{Name: "crds"}
	for _, d := range definitions {
		d.Labels = with(d.Labels, PartOf, product)
		crd.Objects = append(crd.Objects, d)
	}
	parts := []Part{
		{"namespace", []Object{namespace(o)}},
		crd,
		{"rbac", slices.Concat(rbac(o), o.users())},
		{"config", configMaps(o)},
		{controller, o.controller()},
		{activator, o.activator()},
	}
	if o.Gateway != None {
		parts = append(parts, Part{gateway, o.gateway()})
	}
	if o.Monitoring {
		objects, err := MonitoringObjects(o)
		if err != nil {
			return nil, err
		}
		parts = append(parts, Part{Monitoring, objects})
	}
	return parts, nil
}

// Objects returns the objects of all parts, in order.
func Objects(o Options) ([]Object, error) {
	parts, err := Parts(o)
	if err != nil {
		return nil, err
	}
	var all []Object
	for _, p := range parts {
		all = append(all, p.Objects...)
	}
	return all, nil
}

// namespace returns the namespace, which allows only pods that need nothing of their node.
func namespace(o Options) *corev1.Namespace {
	const level, latest = "restricted", "latest"
	return &corev1.Namespace{
		TypeMeta: typeMeta("v1", "Namespace"),
		ObjectMeta: metav1.ObjectMeta{Name: o.Namespace, Labels: map[string]string{
			PartOf:                               product,
			"pod-security.kubernetes.io/enforce": level,
			"pod-security.kubernetes.io/enforce-version": latest,
			"pod-security.kubernetes.io/audit":           level,
			"pod-security.kubernetes.io/warn":            level,
		}},
	}
}

func typeMeta(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

// meta is the metadata of an object of a role in the namespace.
func (o Options) meta(name, role string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.Namespace, Name: name, Labels: labels(role)}
}

// labels returns the labels of what belongs to a role; empty for all roles.
func labels(role string) map[string]string {
	l := map[string]string{PartOf: product}
	if role != "" {
		l[component] = role
	}
	return l
}

// with returns a map that has one more entry.
func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// lastGood is the ConfigMap in which controllers keep the last good data of the others. It is made here, so that controllers need no
// permission to make any.
const lastGood = "config-last-good"

// configMaps returns the ConfigMaps with Knative's names. They have only what differs from the defaults, so that applying them again
// leaves the keys of others alone.
func configMaps(o Options) []Object {
	data := map[string]map[string]string{
		"config-domain": {o.Domain: ""}, "config-deployment": {"queue-sidecar-image": o.QueueProxyImage},
	}
	names := append(config.Names(), lastGood)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var all []Object
	for _, name := range names {
		all = append(all, &corev1.ConfigMap{TypeMeta: typeMeta("v1", "ConfigMap"), ObjectMeta: o.meta(name, ""), Data: data[name]})
	}
	return all
}
