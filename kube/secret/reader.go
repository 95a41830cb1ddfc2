// Package secret reads the certificates in those Secrets that somebody names, and no others. It must not know what a certificate is for.
package secret

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/model"
)

// Reader reads the Secrets that somebody names, and no others: each has a watch of its own, by its name. So a Role that allows get, list
// and watch for certain names is enough, and a Secret that nobody names never reaches this process. Its methods may be called from any
// goroutine.
//
// A certificate that was right stays until a newer one is right, or until nobody names its Secret.
type Reader struct {
	client  client.WithWatch
	changed func(user model.Ref)

	// Guarded by mu.
	mu    sync.Mutex
	run   context.Context             // of the watches; nil before Run
	named map[model.Key]*namedSecret  // by Secret
	users map[model.Ref]model.Key     // the Secret that each user names
	wait  []func(ctx context.Context) // watches that begin with Run
}

// namedSecret is what is known of one Secret.
type namedSecret struct {
	users   map[model.Ref]struct{}
	stop    context.CancelFunc
	pair    *model.Pair // the newest one that was right; nil when there was none
	problem string      // a sentence; empty when all is right
}

// New makes a Reader. It calls changed for a user whenever what is known of the user's Secret has changed, from any goroutine.
func New(config *rest.Config, changed func(user model.Ref)) (*Reader, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client for Secrets: %w", err)
	}
	return &Reader{client: c, changed: changed, named: map[model.Key]*namedSecret{}, users: map[model.Ref]model.Key{}}, nil
}

// Read returns the key pair of a Secret, nil when it never had one, and a sentence that says what is wrong with the Secret, which is empty
// when nothing is. It calls changed for the user when that changes. A user names one Secret at a time. The first
// time it asks the API server.
func (s *Reader) Read(ctx context.Context, user model.Ref, secret model.Key) (*model.Pair, string) {
	s.mu.Lock()
	if before, ok := s.users[user]; ok && before != secret {
		s.drop(user)
	}
	s.users[user] = secret
	n := s.named[secret]
	isNew := n == nil
	if isNew {
		n = &namedSecret{users: map[model.Ref]struct{}{}, problem: fmt.Sprintf("Secret %q has not been read yet.", secret.Name)}
		s.named[secret] = n
		s.start(secret, n)
	}
	n.users[user] = struct{}{}
	s.mu.Unlock()
	if isNew {
		o := &corev1.Secret{}
		err := s.client.Get(ctx, types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}, o)
		s.update(secret, n, o, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return n.pair, n.problem
}

// Release notes that a user names no Secret any more. s may be nil.
func (s *Reader) Release(user model.Ref) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(user)
}

// drop is called with mu held.
func (s *Reader) drop(user model.Ref) {
	secret, ok := s.users[user]
	if !ok {
		return
	}
	delete(s.users, user)
	n := s.named[secret]
	if delete(n.users, user); len(n.users) == 0 {
		n.stop()
		delete(s.named, secret)
	}
}

// start is called with mu held.
func (s *Reader) start(secret model.Key, n *namedSecret) {
	begin := func(run context.Context) {
		ctx, stop := context.WithCancel(run)
		n.stop = stop
		go s.follow(ctx, secret, n)
	}
	if s.run != nil {
		begin(s.run)
		return
	}
	stopped := false
	n.stop = func() { stopped = true }
	s.wait = append(s.wait, func(run context.Context) {
		if !stopped {
			begin(run)
		}
	})
}

// Run starts the watches, those of Secrets that were named before too, and returns. They end with the context.
func (s *Reader) Run(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = ctx
	for _, start := range s.wait {
		start(ctx)
	}
	s.wait = nil
}

// follow watches one Secret.
func (s *Reader) follow(ctx context.Context, secret model.Key, n *namedSecret) {
	options := func(o metav1.ListOptions) []client.ListOption {
		o.FieldSelector = "metadata.name=" + secret.Name
		return []client.ListOption{&client.ListOptions{Namespace: secret.Namespace, Raw: &o}}
	}
	lister := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list := &corev1.SecretList{}
			err := s.client.List(ctx, list, options(o)...)
			if err == nil && len(list.Items) == 0 {
				s.update(secret, n, nil, nil)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return s.client.Watch(ctx, &corev1.SecretList{}, options(o)...)
		},
	}
	informer := cache.NewSharedInformer(lister, &corev1.Secret{}, 0)
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { // fails only after the start
		if apierrors.IsForbidden(err) {
			s.update(secret, n, nil, err)
		}
	})
	take := func(o any) {
		if found, ok := o.(*corev1.Secret); ok {
			s.update(secret, n, found, nil)
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{ // fails only after the end
		AddFunc: take, UpdateFunc: func(_, o any) { take(o) }, DeleteFunc: func(any) { s.update(secret, n, nil, nil) },
	})
	informer.RunWithContext(ctx)
}

// update takes what was read of a Secret: o is nil when there is none.
func (s *Reader) update(secret model.Key, n *namedSecret, o *corev1.Secret, err error) {
	pair, problem := pairOf(secret, o, err)
	s.mu.Lock()
	changed := n.problem != problem || pair != nil && (n.pair == nil || n.pair.Chain != pair.Chain || n.pair.Key != pair.Key)
	n.problem = problem
	if pair != nil {
		n.pair = pair
	}
	var users []model.Ref
	for user := range n.users {
		users = append(users, user)
	}
	s.mu.Unlock()
	if !changed {
		return
	}
	for _, user := range users {
		s.changed(user)
	}
}

// pairOf returns the key pair in a Secret, or a sentence that says what is wrong. The sentence reveals nothing of the content.
func pairOf(secret model.Key, o *corev1.Secret, err error) (*model.Pair, string) {
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Sprintf("The controller may not read Secret %q: allow its service account to get, list and watch it "+
			"with a Role in the namespace %q.", secret.Name, secret.Namespace)
	case o == nil && err == nil, apierrors.IsNotFound(err):
		return nil, fmt.Sprintf("Secret %q does not exist in the namespace %q.", secret.Name, secret.Namespace)
	case err != nil:
		return nil, fmt.Sprintf("Secret %q cannot be read: %v.", secret.Name, err)
	case o.Type != corev1.SecretTypeTLS:
		return nil, fmt.Sprintf("Secret %q is of the type %q, want %s.", secret.Name, o.Type, corev1.SecretTypeTLS)
	}
	pair, err := model.ReadPair(o.Data[corev1.TLSCertKey], o.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Sprintf("Secret %q has no certificate that can be served: %v.", secret.Name, err)
	}
	return &pair, ""
}
