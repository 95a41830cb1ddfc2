package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/allow"
)

// The Secrets of an installation, in its namespace.
const (
	authoritySecret = "sluice-xds-ca"
	tokenSecret     = "sluice-activator-token"
	tokenKey        = "token"
	authorityKey    = "ca.crt" // the authorities that the other side's certificate may be from
)

// secretOf is the name of the Secret with the certificate of a role. Pods of the role mount it, and whoever asks for the status reads it.
func secretOf(role string) string { return "sluice-xds-" + role }

// roles are those that clients of xDS may have, and so need a certificate for. That of allow.Status is for people.
var roles = []string{contract.Gateway, contract.Activator, contract.Mesh, allow.Status}

// checkEvery is how often certificates are checked for their age, and for Secrets that somebody has deleted.
const checkEvery = time.Minute

// secrets keeps the Secrets of an installation.
type secrets struct {
	client    typedcorev1.SecretInterface
	log       hclog.Logger
	namespace string
	dir       string // of this replica's own certificate, in files
}

// certificates makes the authority if there is none, and then this replica's certificate as a server, in files.
func (s *secrets) certificates(ctx context.Context) error {
	authority, err := s.authority(ctx)
	if err != nil {
		return err
	}
	own := pair{chain: s.read("tls.crt"), key: s.read("tls.key")}
	if !isFresh(own, time.Now()) || !isOf(own, authority) {
		if own, err = issue(authority, "controller", time.Now(), serverName(s.namespace)); err != nil {
			return fmt.Errorf("the certificate of the xDS server: %w", err)
		}
	}
	for name, text := range map[string][]byte{"tls.key": own.key, "tls.crt": own.chain, authorityKey: authority.chain} {
		if err := s.write(name, text); err != nil {
			return err
		}
	}
	return nil
}

// serverName is the name that the certificate of the xDS server is for.
func serverName(namespace string) string { return "controller." + namespace + ".svc" }

func (s *secrets) read(name string) []byte {
	text, _ := os.ReadFile(filepath.Join(s.dir, name)) // what is not there is made
	return text
}

// write replaces a file at once if it changes.
func (s *secrets) write(name string, text []byte) error {
	if bytes.Equal(s.read(name), text) {
		return nil
	}
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("writing the certificate of the xDS server: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the certificate of the xDS server: %w", err)
	}
	return nil
}

// authority returns the authority of the installation. It makes one if there is none, or the one there is grows old.
func (s *secrets) authority(ctx context.Context) (pair, error) {
	secret, err := s.keep(ctx, authoritySecret, func(has map[string][]byte) (map[string][]byte, error) {
		if isFresh(pairOf(has), time.Now()) {
			return has, nil
		}
		made, err := newAuthority(time.Now(), has[corev1.TLSCertKey])
		return map[string][]byte{corev1.TLSCertKey: made.chain, corev1.TLSPrivateKeyKey: made.key}, err
	})
	return pairOf(secret), err
}

func pairOf(data map[string][]byte) pair {
	return pair{chain: data[corev1.TLSCertKey], key: data[corev1.TLSPrivateKeyKey]}
}

// issueAll makes and renews the certificates of all roles. Only the leader does it.
func (s *secrets) issueAll(ctx context.Context) error {
	authority, err := s.authority(ctx)
	if err != nil {
		return err
	}
	for _, role := range roles {
		_, err := s.keep(ctx, secretOf(role), func(has map[string][]byte) (map[string][]byte, error) {
			return certified(has, authority, role)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// certified returns the content of a Secret with a certificate for a role: what it has, where that is still good.
func certified(has map[string][]byte, authority pair, role string) (map[string][]byte, error) {
	own, err := pairOf(has), error(nil)
	if !isFresh(own, time.Now()) || !isOf(own, authority) || !isFor(own, role) {
		own, err = issue(authority, role, time.Now())
	}
	return map[string][]byte{corev1.TLSCertKey: own.chain, corev1.TLSPrivateKeyKey: own.key, authorityKey: authority.chain}, err
}

// token returns the secret by which queue-proxies recognize activators. It is made once.
func (s *secrets) token(ctx context.Context) (string, error) {
	data, err := s.keep(ctx, tokenSecret, func(has map[string][]byte) (map[string][]byte, error) {
		if len(has[tokenKey]) > 0 {
			return has, nil
		}
		random := make([]byte, 32)
		_, _ = rand.Read(random) // it does not fail
		return map[string][]byte{tokenKey: []byte(hex.EncodeToString(random))}, nil
	})
	return string(data[tokenKey]), err
}

// keep has a Secret as next makes it from what it has. Replicas may do that at the same time: one wins, and the others take its Secret.
func (s *secrets) keep(ctx context.Context, name string,
	next func(map[string][]byte) (map[string][]byte, error)) (map[string][]byte, error) {
	for {
		secret, err := s.client.Get(ctx, name, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return nil, fmt.Errorf("reading the Secret %s/%s: %w", s.namespace, name, err)
		}
		if missing {
			secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
				Namespace: s.namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "sluice"},
			}}
		}
		data, err := next(secret.Data)
		if err != nil {
			return nil, fmt.Errorf("the Secret %s/%s: %w", s.namespace, name, err)
		}
		if !missing && maps.EqualFunc(data, secret.Data, bytes.Equal) {
			return data, nil
		}
		secret.Data = data
		if missing {
			_, err = s.client.Create(ctx, secret, metav1.CreateOptions{})
		} else {
			_, err = s.client.Update(ctx, secret, metav1.UpdateOptions{})
		}
		switch {
		case err == nil:
			s.log.Info("wrote a Secret", "secret", name)
			return data, nil
		case !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err):
			return nil, fmt.Errorf("writing the Secret %s/%s: %w", s.namespace, name, err)
		}
	}
}

// renew keeps certificates fresh until the context ends: this replica's, and with lead those of all roles.
func (s *secrets) renew(ctx context.Context, lead bool) error {
	for {
		err := s.certificates(ctx)
		if err == nil && lead {
			err = s.issueAll(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("cannot check the certificates of xDS", "again in", checkEvery, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(checkEvery):
		}
	}
}
