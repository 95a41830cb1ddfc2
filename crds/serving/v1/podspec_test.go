package servingv1

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// A runtime on Kubernetes converts a PodSpec to a corev1.PodSpec through JSON. So corev1 must have each of our fields, with
// the same name and shape.
func TestPodSpecIsASubsetOfCorev1(t *testing.T) {
	subset(t, "PodSpec", reflect.TypeFor[PodSpec](), reflect.TypeFor[corev1.PodSpec]())
}

func subset(t *testing.T, path string, ours, theirs reflect.Type) {
	if ours == theirs || ours == reflect.TypeFor[apiextensionsv1.JSON]() { // a field that Kubernetes checks
		return
	}
	if ours.Kind() == reflect.Pointer && ours.Elem() == reflect.TypeFor[apiextensionsv1.JSON]() {
		return
	}
	if ours.Kind() != theirs.Kind() {
		t.Errorf("%s: %s here, %s in corev1", path, ours, theirs)
		return
	}
	switch ours.Kind() {
	case reflect.Pointer, reflect.Slice:
		subset(t, path, ours.Elem(), theirs.Elem())
	case reflect.Struct:
		known := fields(theirs)
		for name, field := range fields(ours) {
			their, ok := known[name]
			if !ok {
				t.Errorf("%s.%s: not in corev1", path, name)
				continue
			}
			subset(t, path+"."+name, field, their)
		}
	}
}

// fields returns the fields of a struct by their JSON names, with those of embedded structs.
func fields(s reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for f := range s.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" {
			all[name] = f.Type
			continue
		}
		for name, field := range fields(f.Type) {
			all[name] = field
		}
	}
	return all
}
