package apiserver

import (
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/tools/cache"
)

// listGroups keeps the groups of all CustomResourceDefinitions in the plain (not aggregated) list of groups at /apis,
// which older clients read. In a cluster the aggregator does that.
func listGroups(s *extensions.CustomResourceDefinitions) error {
	definitions := s.Informers.Apiextensions().V1().CustomResourceDefinitions()
	sync := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		d, ok := o.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return
		}
		all, err := definitions.Lister().List(labels.Everything())
		if err != nil { // cannot be: the lister reads memory
			return
		}
		group := groupOf(d.Spec.Group, all)
		if len(group.Versions) == 0 {
			s.GenericAPIServer.DiscoveryGroupManager.RemoveGroup(group.Name)
			return
		}
		s.GenericAPIServer.DiscoveryGroupManager.AddGroup(group)
	}
	_, err := definitions.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    sync,
		UpdateFunc: func(_, o any) { sync(o) },
		DeleteFunc: sync,
	})
	if err != nil {
		return fmt.Errorf("following CustomResourceDefinitions: %w", err)
	}
	return nil
}

// groupOf returns the group of that name with all served versions, the most stable and newest first.
func groupOf(name string, all []*apiextensionsv1.CustomResourceDefinition) metav1.APIGroup {
	var versions []string
	for _, d := range all {
		if d.Spec.Group != name {
			continue
		}
		for _, v := range d.Spec.Versions {
			if v.Served && !slices.Contains(versions, v.Name) {
				versions = append(versions, v.Name)
			}
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return -version.CompareKubeAwareVersionStrings(a, b) })
	group := metav1.APIGroup{Name: name}
	for _, v := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
	}
	if len(group.Versions) > 0 {
		group.PreferredVersion = group.Versions[0]
	}
	return group
}
