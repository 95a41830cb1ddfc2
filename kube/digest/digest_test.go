package digest

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// noCredentials is a cluster without a ServiceAccount or Secret.
type noCredentials struct{}

func (noCredentials) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func newResolver() *Resolver { return New(Options{Credentials: noCredentials{}, UserAgent: "test"}) }

// newRegistry starts a registry in memory, behind wrap where that is not nil, and returns its host:port.
func newRegistry(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// push pushes an image with random content, and returns its digest.
func push(t *testing.T, image string, options ...remote.Option) string {
	t.Helper()
	tag, err := name.NewTag(image)
	if err != nil {
		t.Fatal(err)
	}
	content, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, content, options...); err != nil {
		t.Fatal(err)
	}
	digest, err := content.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func revision(images ...string) *servingv1.Revision {
	r := &servingv1.Revision{}
	r.Namespace, r.Name = "default", "hello-00001"
	for i, image := range images {
		r.Spec.Containers = append(r.Spec.Containers, servingv1.Container{Name: string(rune('a' + i)), Image: image})
	}
	return r
}

const someDigest = "@sha256:deadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeef"

func TestTagsBecomeDigests(t *testing.T) {
	host := newRegistry(t, nil)
	first, second := push(t, host+"/hello:v1"), push(t, host+"/hello:latest")
	images, err := newResolver().Resolve(t.Context(),
		revision(host+"/hello:v1", host+"/hello", host+"/hello:v1", host+"/other"+someDigest, "ko.local/hello:v1"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": host + "/hello@" + first, "b": host + "/hello@" + second, "c": host + "/hello@" + first,
		"d": host + "/other" + someDigest, "e": "ko.local/hello:v1",
	}
	if diff := cmp.Diff(want, images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestWhatNeedsNoRegistryIsKnown(t *testing.T) {
	r := newResolver()
	for image, known := range map[string]bool{
		"example.org/hello" + someDigest: true, "hello" + someDigest: true, "dev.local/hello": true, "kind.local/hello:v1": true,
		"hello": false, "example.org/hello:v1": false, "Not An Image": false,
	} {
		images := r.Known(revision(image))
		if (images != nil) != known || known && images["a"] != image {
			t.Errorf("%s: got %v, want known: %t", image, images, known)
		}
	}
	r.Configure(Settings{Skip: []string{"example.org"}})
	if r.Known(revision("example.org/hello:v1")) == nil || r.Known(revision("dev.local/hello")) != nil {
		t.Error("the registries to skip did not change")
	}
}

func TestWhatCannotBeResolvedIsSaidAsKnativeSaysIt(t *testing.T) {
	host := newRegistry(t, nil)
	none := host + "/none:v1"
	for image, parts := range map[string][]string{
		none: {`Unable to fetch image "` + none + `": failed to resolve image to digest: `, "NAME_UNKNOWN"},
		"Not An Image": {`Unable to fetch image "Not An Image": failed to resolve image to digest: ` +
			`failed to parse image name "Not An Image" into a tag: `},
		"127.0.0.1:1/hello": {`Unable to fetch image "127.0.0.1:1/hello": `, "refused"},
	} {
		_, err := newResolver().Resolve(t.Context(), revision(image))
		for _, part := range parts {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("the error is %v, want one with %s", err, part)
			}
		}
	}
}

func TestARegistryWithoutHEADIsAskedByGET(t *testing.T) {
	var pushed atomic.Bool
	host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if pushed.Load() && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") {
				http.Error(w, "", http.StatusMethodNotAllowed)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	digest := push(t, host+"/hello:v1")
	pushed.Store(true)
	images, err := newResolver().Resolve(t.Context(), revision(host+"/hello:v1"))
	if err != nil || images["a"] != host+"/hello@"+digest {
		t.Errorf("got %v and %v, want digest %s", images, err, digest)
	}
}

func TestARegistryThatHangsIsGivenUpAndDelaysNoOther(t *testing.T) {
	var waiting atomic.Int64
	all := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if waiting.Add(1) == perRegistry {
			close(all)
		}
		<-r.Context().Done()
	}))
	defer hanging.Close()
	slow := strings.TrimPrefix(hanging.URL, "http://")
	r := newResolver()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2*perRegistry)
	for range 2 * perRegistry {
		go func() {
			_, err := r.Resolve(ctx, revision(slow+"/hello"))
			ended <- err
		}()
	}
	<-all // all of its slots are taken

	host := newRegistry(t, nil)
	push(t, host+"/hello:v1")
	if _, err := r.Resolve(t.Context(), revision(host+"/hello:v1")); err != nil {
		t.Errorf("another registry cannot be asked: %v", err)
	}
	if n := waiting.Load(); n != perRegistry {
		t.Errorf("the registry is asked %d times at once, want %d", n, perRegistry)
	}
	stop()
	for range 2 * perRegistry {
		if err := <-ended; err == nil {
			t.Error("an image of a registry that does not answer was resolved")
		}
	}
	r.Configure(Settings{Timeout: 1})
	_, err := r.Resolve(t.Context(), revision(slow+"/hello"))
	if err == nil || !strings.Contains(err.Error(), "the registry did not answer within 1ns") {
		t.Errorf("the error is %v, want one that says that the registry did not answer", err)
	}
	if len(r.lanes.lanes) != 0 {
		t.Errorf("%d registries are remembered, want none", len(r.lanes.lanes))
	}
}

// private has a registry want a user and a password.
func private(user, password string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func basic(user, password string) remote.Option {
	return remote.WithAuth(&authn.Basic{Username: user, Password: password})
}
