package cluster

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/contract"
)

// clientRole is a role that Envoys and gRPC clients of other namespaces may have, where the namespace has the labels.
type clientRole struct {
	name   string
	labels []string
}

var clientRoles = []clientRole{
	{contract.Mesh, []string{install.ClientsLabel}},
	{contract.Gateway, []string{install.ClientsLabel, install.GatewaysLabel}},
}

// missing returns the first label that a namespace lacks for the role; empty: it may have the role.
func (r clientRole) missing(namespace *corev1.Namespace) string {
	for _, label := range r.labels {
		if namespace.Labels[label] != "true" {
			return label
		}
	}
	return ""
}

// reasonNotAllowed is the reason of the Event about a Secret that stays as it is.
const reasonNotAllowed = "NotAllowed"

// clients fills the Secrets by which other namespaces ask for certificates: a namespace makes the Secret of a role's name, and has the
// labels by which an administrator allows it the role. Each namespace gets a key of its own, for an identity that names it.
type clients struct {
	own        string // namespace of the installation, whose Secrets are those of its own pods
	api        kubernetes.Interface
	authority  func(context.Context) (pair, error)
	log        hclog.Logger
	events     record.EventBroadcaster
	recorder   record.EventRecorder
	namespaces cache.SharedIndexInformer
	secrets    map[string]cache.SharedIndexInformer // by role
	changed    chan struct{}                        // has room for one
	reported   map[types.UID]string                 // the last Event about a Secret
}

func newClients(config *rest.Config, own string, authority func(context.Context) (pair, error), log hclog.Logger) (*clients, error) {
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	c := &clients{
		own: own, api: api, authority: authority, log: log, events: record.NewBroadcaster(),
		namespaces: watching(api, "namespaces", &corev1.Namespace{}, fields.Everything()),
		secrets:    map[string]cache.SharedIndexInformer{}, changed: make(chan struct{}, 1), reported: map[types.UID]string{},
	}
	c.recorder = c.events.NewRecorder(clientgoscheme.Scheme, corev1.EventSource{Component: "sluice-controller"})
	for _, role := range clientRoles {
		named := fields.OneTermEqualSelector(metav1.ObjectNameField, secretOf(role.name))
		c.secrets[role.name] = watching(api, "secrets", &corev1.Secret{}, named)
	}
	return c, nil
}

// watching watches objects of the core group in all namespaces. client-go's own informers would bring those of all groups into the binary.
func watching(api kubernetes.Interface, resource string, of runtime.Object, which fields.Selector) cache.SharedIndexInformer {
	lister := cache.NewListWatchFromClient(api.CoreV1().RESTClient(), resource, metav1.NamespaceAll, which)
	return cache.NewSharedIndexInformer(lister, of, 0, cache.Indexers{})
}

// run fills Secrets until the context ends: when something changes, and from time to time, since certificates grow old.
func (c *clients) run(ctx context.Context) error {
	c.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.api.CoreV1().Events("")})
	defer c.events.Shutdown()
	look := func(any) {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, o any) { look(o) }}
	all := []cache.SharedIndexInformer{c.namespaces}
	for _, informer := range c.secrets {
		all = append(all, informer)
	}
	for _, informer := range all {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watching for Secrets of xDS clients: %w", err)
		}
		go informer.RunWithContext(ctx)
	}
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
		case <-tick.C:
		}
		for _, role := range clientRoles {
			if err := c.fillAll(ctx, role); err != nil && ctx.Err() == nil {
				c.log.Warn("cannot keep the certificates of xDS clients in other namespaces",
					"role", role.name, "again in", checkEvery, "error", err)
			}
		}
	}
}

// fillAll fills the Secrets of a role.
func (c *clients) fillAll(ctx context.Context, role clientRole) error {
	if !c.namespaces.HasSynced() {
		return nil // its first list is a change
	}
	var authority pair
	for _, o := range c.secrets[role.name].GetStore().List() {
		secret, ok := o.(*corev1.Secret)
		if !ok || secret.Namespace == c.own || secret.DeletionTimestamp != nil || !c.allows(role, secret) {
			continue
		}
		if authority.key == nil { // it may have been renewed
			var err error
			if authority, err = c.authority(ctx); err != nil {
				return err
			}
		}
		if err := c.fill(ctx, role, secret, authority); err != nil {
			return err
		}
	}
	return nil
}

// allows reports whether the namespace of a Secret may have the role. Otherwise an Event says what is missing.
func (c *clients) allows(role clientRole, secret *corev1.Secret) bool {
	o, found, err := c.namespaces.GetStore().GetByKey(secret.Namespace)
	namespace, ok := o.(*corev1.Namespace)
	if err != nil || !found || !ok {
		return false
	}
	label := role.missing(namespace)
	if label != "" && c.reported[secret.UID] != label {
		c.recorder.Eventf(secret, corev1.EventTypeWarning, reasonNotAllowed, "The Secret gets no certificate of a %s: the namespace %s "+
			"has no label %s=true, by which an administrator allows that.", role.name, secret.Namespace, label)
		c.reported[secret.UID] = label
	}
	return label == ""
}

// fill gives a Secret a certificate, unless it has a good one.
func (c *clients) fill(ctx context.Context, role clientRole, secret *corev1.Secret, authority pair) error {
	data, err := certified(secret.Data, authority, role.name+"/"+secret.Namespace)
	if err != nil {
		return fmt.Errorf("the Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	next := maps.Clone(secret.Data) // keys of users stay
	if next == nil {
		next = map[string][]byte{}
	}
	maps.Copy(next, data)
	if maps.EqualFunc(next, secret.Data, bytes.Equal) {
		return nil
	}
	secret = secret.DeepCopy()
	secret.Data = next
	_, err = c.api.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err): // the watch brings the newer one
		return nil
	case err != nil: // such as one that is immutable: the others must get theirs
		c.log.Warn("cannot write the certificate of xDS clients", "namespace", secret.Namespace, "secret", secret.Name, "error", err)
		return nil
	}
	c.log.Info("wrote a certificate for xDS clients", "namespace", secret.Namespace, "role", role.name)
	return nil
}
