// Package digest asks container registries for the digests of images, with the credentials that a revision's pods have.
//
// It must not know when a revision is resolved, nor what becomes of the result: package kube/images asks, remembers and tries again.
package digest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// Settings are those of Knative's config-deployment.
type Settings struct {
	// Skip are the registries whose images keep their tags (registries-skipping-tag-resolving), such as "ko.local".
	Skip []string
	// Timeout bounds the resolution of one image (digest-resolution-timeout), without the wait for other questions to its registry; 0
	// means 10 s.
	Timeout time.Duration
}

// DefaultSettings are Knative's.
func DefaultSettings() Settings {
	return Settings{Skip: []string{"kind.local", "ko.local", "dev.local"}, Timeout: 10 * time.Second}
}

// Options of a Resolver.
type Options struct {
	// Credentials reads what pods pull images with.
	Credentials Credentials
	// Transport carries the questions; nil means the library's own.
	Transport http.RoundTripper
	// UserAgent is added to the library's; it may be empty.
	UserAgent string
}

// Resolver asks registries. Its methods may be called from any goroutine.
type Resolver struct {
	options Options
	lanes   lanes

	mu       sync.Mutex
	settings Settings
}

// New returns a Resolver with DefaultSettings.
func New(o Options) *Resolver {
	if o.Transport == nil {
		o.Transport = remote.DefaultTransport
	}
	return &Resolver{options: o, settings: DefaultSettings()}
}

// Configure replaces the settings. They count for images whose resolution begins later.
func (r *Resolver) Configure(s Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = s
}

func (r *Resolver) current() Settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings
}

// Known returns the image of each container of a revision, by the container's name, without asking anyone: images that are named by digest
// already, and those of skipped registries. It returns nil when a registry must be asked.
func (r *Resolver) Known(revision *servingv1.Revision) map[string]string {
	settings, out := r.current(), map[string]string{}
	for container, image := range revision.Images() {
		if ref, err := parse(image, settings); ref != nil || err != nil {
			return nil
		}
		out[container] = image
	}
	return out
}

// Resolve returns the image of each container of a revision by digest, by the container's name. Images of skipped registries stay as they
// are. It works until ctx ends at the latest. An error is a sentence for the revision's conditions, as Knative writes it.
func (r *Resolver) Resolve(ctx context.Context, revision *servingv1.Revision) (map[string]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // one image that cannot be fetched is enough
	settings, images := r.current(), revision.Images()
	type answer struct {
		image, digest string
		err           error
	}
	answers := make(chan answer, len(images))
	asked := map[string]bool{}
	keys := newKeys(r.options.Credentials, revision)
	for _, image := range images {
		if asked[image] {
			continue
		}
		asked[image] = true
		go func() {
			digest, err := r.resolve(ctx, image, keys, settings)
			answers <- answer{image: image, digest: digest, err: err}
		}()
	}
	digests := map[string]string{}
	for range asked {
		a := <-answers
		if a.err != nil {
			return nil, &failure{image: a.image, cause: a.err}
		}
		digests[a.image] = a.digest
	}
	for container, image := range images {
		images[container] = digests[image]
	}
	return images, nil
}

// parse returns the reference of an image whose registry must be asked, nil when it need not be.
func parse(image string, settings Settings) (name.Reference, error) {
	if _, err := name.NewDigest(image, name.WeakValidation); err == nil {
		return nil, nil
	}
	tag, err := name.NewTag(image, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("failed to parse image name %q into a tag: %w", image, err)
	}
	if slices.Contains(settings.Skip, tag.RegistryStr()) {
		return nil, nil
	}
	return tag, nil
}

// resolve returns an image by digest.
func (r *Resolver) resolve(ctx context.Context, image string, keys *keys, settings Settings) (string, error) {
	ref, err := parse(image, settings)
	if ref == nil || err != nil {
		return image, err
	}
	leave, err := r.lanes.enter(ctx, ref.Context().RegistryStr())
	if err != nil {
		return "", err
	}
	defer leave()
	timeout := cmp.Or(settings.Timeout, DefaultSettings().Timeout)
	bound, cancel := context.WithTimeoutCause(ctx, timeout, errNoAnswer)
	defer cancel()
	keychain, err := keys.chain(bound)
	if err != nil {
		return "", err
	}
	options := []remote.Option{
		remote.WithContext(bound), remote.WithTransport(r.options.Transport), remote.WithAuthFromKeychain(keychain),
		remote.WithUserAgent(r.options.UserAgent),
	}
	if head, err := remote.Head(ref, options...); err == nil {
		return ref.Context().Digest(head.Digest.String()).String(), nil
	} else if cause := context.Cause(bound); cause != nil {
		return "", fmt.Errorf("%w within %s: %w", cause, timeout, err)
	}
	// Some registries do not give the digest in an answer to HEAD, and none explains an error there.
	got, err := remote.Get(ref, options...)
	if err != nil {
		return "", err
	}
	return ref.Context().Digest(got.Digest.String()).String(), nil
}

// errNoAnswer is why a resolution ends that takes too long.
var errNoAnswer = errors.New("the registry did not answer")

// failure says which image cannot be fetched, in Knative's words.
type failure struct {
	image string
	cause error
}

func (f *failure) Error() string {
	return fmt.Sprintf("Unable to fetch image %q: failed to resolve image to digest: %s", f.image, bounded(f.cause))
}

func (f *failure) Unwrap() error { return f.cause }

// maxMessage bounds what a registry can have written into a condition, in bytes.
const maxMessage = 800

func bounded(err error) string {
	message := err.Error()
	if len(message) > maxMessage {
		return message[:maxMessage] + " …"
	}
	return message
}
