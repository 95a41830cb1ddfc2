package apiserver

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// storagePrefix is where the API server keeps everything in etcd.
const storagePrefix = "/registry"

// seedDefinitions stores CustomResourceDefinitions as established before the API server starts.
//
// If they were created over the API, each would pass through four controllers. And the library delays the first create of
// an object by two seconds when its kind was established less than two seconds ago. The definitions are generated and tested,
// so those controllers have nothing to check.
func seedDefinitions(ctx context.Context, client *clientv3.Client, definitions []*apiextensionsv1.CustomResourceDefinition) error {
	for _, d := range definitions {
		if err := seedDefinition(ctx, client, d.DeepCopy()); err != nil {
			return fmt.Errorf("storing the CustomResourceDefinition %s: %w", d.Name, err)
		}
	}
	return nil
}

// seedDefinition stores d unless a definition with the same spec is stored. It changes d.
func seedDefinition(ctx context.Context, client *clientv3.Client, d *apiextensionsv1.CustomResourceDefinition) error {
	codec := extensions.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
	key := storagePrefix + "/" + apiextensionsv1.GroupName + "/customresourcedefinitions/" + d.Name
	extensions.Scheme.Default(d)
	d.UID, d.Generation = uuid.NewUUID(), 1
	d.CreationTimestamp = metav1.Now()

	got, err := client.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(got.Kvs) > 0 {
		old := &apiextensionsv1.CustomResourceDefinition{}
		if err := runtime.DecodeInto(codec, got.Kvs[0].Value, old); err != nil {
			return fmt.Errorf("decoding the stored definition: %w", err)
		}
		if apiequality.Semantic.DeepEqual(old.Spec, d.Spec) {
			return nil
		}
		d.UID, d.Generation, d.CreationTimestamp = old.UID, old.Generation+1, old.CreationTimestamp
	}
	establish(d)
	data, err := runtime.Encode(codec, d)
	if err != nil {
		return err
	}
	_, err = client.Put(ctx, key, string(data))
	return err
}

// establish gives d the status that the API server's controllers would give it, as of an hour ago.
func establish(d *apiextensionsv1.CustomResourceDefinition) {
	since := metav1.NewTime(time.Now().Add(-time.Hour))
	d.Status = apiextensionsv1.CustomResourceDefinitionStatus{
		AcceptedNames: d.Spec.Names,
		Conditions: []apiextensionsv1.CustomResourceDefinitionCondition{
			{
				Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts",
				Message: "no conflicts found", LastTransitionTime: since,
			},
			{
				Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue, Reason: "InitialNamesAccepted",
				Message: "the initial names have been accepted", LastTransitionTime: since,
			},
		},
	}
	for _, v := range d.Spec.Versions {
		if v.Storage {
			d.Status.StoredVersions = []string{v.Name}
		}
	}
}
