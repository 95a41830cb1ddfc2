package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sluice.dev/sluice/crds"
	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
)

// Put writes an object's status to the store without a request to the API server, and with whole also its labels, annotations,
// generation and spec. All other fields of the stored object stay. The object's resourceVersion must be the stored one, and Put
// sets the new one. Watches report the write as any other, and it is durable when Put returns.
//
// Put is for the controllers of this process. It sets no defaults and checks nothing, so the schema must allow the status, and
// admission must have nothing to change in the spec. Its errors are those of the API: not found, and conflict.
func (s *Server) Put(ctx context.Context, o crds.Object, whole bool) error {
	resource, err := resourceOf(o)
	if err != nil {
		return err
	}
	if err := s.store.Failure(); err != nil {
		return unavailable(err)
	}
	ctx, cancel := s.store.While(ctx)
	defer cancel()
	key := storagePrefix + "/" + resource.Group + "/" + resource.Resource + "/" + o.GetNamespace() + "/" + o.GetName()
	// A serializable read is enough: the transaction checks that the object has not changed since.
	got, err := s.store.Client().Get(ctx, key, clientv3.WithSerializable())
	if err != nil {
		return fmt.Errorf("reading %s %s/%s in the store: %w", resource.Resource, o.GetNamespace(), o.GetName(), err)
	}
	if len(got.Kvs) == 0 {
		return apierrors.NewNotFound(resource, o.GetName())
	}
	stored := got.Kvs[0]
	if o.GetResourceVersion() != strconv.FormatInt(stored.ModRevision, 10) {
		return changed(resource, o)
	}
	value, err := merge(stored.Value, o, whole)
	if err != nil {
		return fmt.Errorf("merging %s %s/%s: %w", resource.Resource, o.GetNamespace(), o.GetName(), err)
	}
	done, err := s.store.Client().Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", stored.ModRevision)).
		Then(clientv3.OpPut(key, string(value))).Commit()
	if err != nil {
		return fmt.Errorf("storing %s %s/%s: %w", resource.Resource, o.GetNamespace(), o.GetName(), err)
	}
	if !done.Succeeded {
		return changed(resource, o)
	}
	o.SetResourceVersion(strconv.FormatInt(done.Header.Revision, 10))
	return nil
}

// resourceOf returns the name of an object's kind in paths and keys.
func resourceOf(o crds.Object) (schema.GroupResource, error) {
	name := ""
	switch o.(type) {
	case *servingv1.Service:
		name = "services"
	case *servingv1.Configuration:
		name = "configurations"
	case *servingv1.Revision:
		name = "revisions"
	case *servingv1.Route:
		name = "routes"
	case *servingv1beta1.DomainMapping:
		name = "domainmappings"
	case *autoscalingv1alpha1.ScalingSchedule:
		return autoscalingv1alpha1.GroupVersion.WithResource("scalingschedules").GroupResource(), nil
	default:
		return schema.GroupResource{}, fmt.Errorf("this server has no kind for a %T", o)
	}
	return servingv1.GroupVersion.WithResource(name).GroupResource(), nil
}

func changed(resource schema.GroupResource, o metav1.Object) error {
	return apierrors.NewConflict(resource, o.GetName(),
		errors.New("the object has been modified; please apply your changes to the latest version and try again"))
}

// merge replaces parts of a stored object, which is JSON. The other parts keep their bytes.
func merge(stored []byte, o runtime.Object, whole bool) ([]byte, error) {
	fresh, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var have, want map[string]json.RawMessage
	if err := json.Unmarshal(stored, &have); err != nil {
		return nil, fmt.Errorf("reading the stored object: %w", err)
	}
	if err := json.Unmarshal(fresh, &want); err != nil {
		return nil, err
	}
	move(have, want, "status")
	if whole {
		move(have, want, "spec")
		var metadata, wanted map[string]json.RawMessage
		if err := json.Unmarshal(have["metadata"], &metadata); err != nil {
			return nil, fmt.Errorf("reading the metadata of the stored object: %w", err)
		}
		if err := json.Unmarshal(want["metadata"], &wanted); err != nil {
			return nil, err
		}
		for _, field := range []string{"labels", "annotations", "generation"} {
			move(metadata, wanted, field)
		}
		if have["metadata"], err = json.Marshal(metadata); err != nil {
			return nil, err
		}
	}
	return json.Marshal(have)
}

// move replaces one field of to by that of from, or removes it if from has none.
func move(to, from map[string]json.RawMessage, field string) {
	if value, ok := from[field]; ok {
		to[field] = value
	} else {
		delete(to, field)
	}
}
