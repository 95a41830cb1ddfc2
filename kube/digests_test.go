package kube_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube/images"
	"sluice.dev/sluice/model"
)

// tags are resolved by a function; images by digest are known.
func tags(resolve func(ctx context.Context, image string) (string, error)) images.Digests {
	return images.Digests{
		Known: func(r *servingv1.Revision) map[string]string {
			if strings.Contains(r.Spec.Containers[0].Image, "@") {
				return r.Images()
			}
			return nil
		},
		Resolve: func(ctx context.Context, r *servingv1.Revision) (map[string]string, error) {
			image, err := resolve(ctx, r.Spec.Containers[0].Image)
			return map[string]string{"user-container": image}, err
		},
	}
}

// statusOf is the status of a revision, empty while there is none.
func (b *bench) statusOf(name string) servingv1.RevisionStatus {
	r := &servingv1.Revision{}
	if err := b.Get(b.t.Context(), types.NamespacedName{Namespace: "default", Name: name}, r); err != nil {
		return servingv1.RevisionStatus{}
	}
	return r.Status
}

// image is the image that the first container of a revision runs; empty when it does not run.
func (b *bench) image(revision string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	w, ok := b.running[model.Key{Namespace: "default", Name: revision}]
	if !ok {
		return ""
	}
	return w.Containers[0].Image
}

func (b *bench) createWithImage(name, image string) {
	b.t.Helper()
	s := newService(name, "one")
	s.Spec.Template.Spec.Containers[0].Image = image
	if err := b.Create(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
}

func TestASlowRegistryDelaysItsOwnRevisionsOnly(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	answer := make(chan struct{})
	b.digests = tags(func(ctx context.Context, image string) (string, error) {
		if image == "slow" {
			select {
			case <-answer:
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		return image + "@sha256:1", nil
	})
	defer b.startAdapter()()
	b.createWithImage("slow", "slow")
	b.eventually("it is being resolved", func() (bool, string) {
		status := b.statusOf("slow-00001")
		c := status.Condition(model.ResourcesAvailable)
		return c != nil && c.Status == "Unknown" && c.Reason == "ResolvingDigests", fmt.Sprintf("%+v", c)
	})
	b.createWithImage("fast", "fast")
	b.createWithImage("exact", "exact@sha256:2")
	b.eventuallyReady("fast")
	b.eventuallyReady("exact")
	if image := b.image("slow-00001"); image != "" {
		t.Errorf("the revision runs %q before its image is resolved", image)
	}
	close(answer)
	b.eventuallyReady("slow")
	for name, want := range map[string]string{
		"slow-00001": "slow@sha256:1", "fast-00001": "fast@sha256:1", "exact-00001": "exact@sha256:2",
	} {
		if image := b.image(name); image != want {
			t.Errorf("%s runs %q, want %q", name, image, want)
		}
		want := []servingv1.ContainerStatus{{Name: "user-container", ImageDigest: want}}
		if diff := cmp.Diff(want, b.statusOf(name).ContainerStatuses); diff != "" {
			t.Errorf("%s: container statuses (-want +got):\n%s", name, diff)
		}
	}
}

func TestAnImageThatIsPushedLateIsResolvedLate(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	var pushed atomic.Bool
	missing := `Unable to fetch image "late": it is not there`
	b.digests = tags(func(_ context.Context, image string) (string, error) {
		if !pushed.Load() {
			return "", errors.New(missing)
		}
		return image + "@sha256:1", nil
	})
	defer b.startAdapter()()
	b.createWithImage("late", "late")
	b.eventually("it is said what is missing", func() (bool, string) {
		status := b.statusOf("late-00001")
		c := status.Condition(model.ContainerHealthy)
		return c != nil && c.Status == "False" && c.Reason == "ContainerMissing" && c.Message == missing, fmt.Sprintf("%+v", c)
	})
	if s := b.statusOf("late-00001"); len(s.ContainerStatuses) != 0 || b.image("late-00001") != "" {
		t.Errorf("it has the images %v, want none", s.ContainerStatuses)
	}
	pushed.Store(true)
	b.eventuallyReady("late")
	if image := b.image("late-00001"); image != "late@sha256:1" {
		t.Errorf("it runs %q", image)
	}
}

func TestARestartResolvesNothingAgain(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	var asked atomic.Int64
	b.digests = tags(func(_ context.Context, image string) (string, error) {
		return fmt.Sprintf("%s@sha256:%d", image, asked.Add(1)), nil
	})
	stop := b.startAdapter()
	b.createWithImage("hello", "hello:latest")
	b.eventuallyReady("hello")
	stop()
	b.mu.Lock()
	b.running = map[model.Key]model.Workload{}
	b.mu.Unlock()
	defer b.startAdapter()()
	b.eventually("it runs again", func() (bool, string) {
		image := b.image("hello-00001")
		return image == "hello:latest@sha256:1", image
	})
	if n := asked.Load(); n != 1 {
		t.Errorf("the image was resolved %d times, want once", n)
	}
}
