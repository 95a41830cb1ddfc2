package digest

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// Credentials reads ServiceAccounts and Secrets by name; client.Reader does. It must be no cache: a cache would list and keep all Secrets
// of the cluster, and need the permission for that.
type Credentials interface {
	Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error
}

// keys are the credentials of one revision. They are read once, and only when a registry is asked.
type keys struct {
	read      Credentials
	namespace string
	account   string
	secrets   []corev1.LocalObjectReference

	once    sync.Once
	keyring authn.Keychain
	err     error
}

func newKeys(read Credentials, r *servingv1.Revision) *keys {
	account := cmp.Or(r.Spec.ServiceAccountName, "default")
	return &keys{read: read, namespace: r.Namespace, account: account, secrets: r.Spec.ImagePullSecrets}
}

// chain returns the credentials: the revision's pull secrets, and then those of its service account. As for the kubelet, what does not
// exist is no error: the image may be public.
func (k *keys) chain(ctx context.Context) (authn.Keychain, error) {
	k.once.Do(func() { k.keyring, k.err = k.load(ctx) })
	return k.keyring, k.err
}

func (k *keys) load(ctx context.Context) (authn.Keychain, error) {
	account := &corev1.ServiceAccount{}
	err := k.read.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: k.account}, account)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("failed to initialize authentication: reading service account %s: %w", k.account, err)
	}
	var secrets []corev1.Secret
	for _, of := range [][]corev1.LocalObjectReference{k.secrets, account.ImagePullSecrets} {
		for _, ref := range of {
			secret := corev1.Secret{}
			err := k.read.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: ref.Name}, &secret)
			if apierrors.IsNotFound(err) {
				continue
			}
			if apierrors.IsForbidden(err) {
				return nil, &forbidden{secret: ref.Name, namespace: k.namespace, cause: err}
			}
			if err != nil {
				return nil, fmt.Errorf("failed to initialize authentication: reading secret %s: %w", ref.Name, err)
			}
			secrets = append(secrets, secret)
		}
	}
	keyring, err := kubernetes.NewFromPullSecrets(ctx, secrets)
	if err != nil {
		return nil, fmt.Errorf("failed to initialize authentication: reading the pull secrets of the revision: %w", err)
	}
	return keyring, nil
}

// forbidden is why a pull secret is not read. Its sentence names what an administrator can do.
type forbidden struct {
	secret, namespace string
	cause             error
}

func (f *forbidden) Error() string {
	return fmt.Sprintf("failed to initialize authentication: the controllers may not read the pull secret %q: allow their service account "+
		"to get it with a Role in the namespace %q, or all Secrets with sluice install --user-secrets", f.secret, f.namespace)
}

func (f *forbidden) Unwrap() error { return f.cause }
