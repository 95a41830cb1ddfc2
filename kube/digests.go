package kube

import (
	"context"
	"sync"
	"time"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Digests resolve the tags of images to digests, so that a revision runs the same images for ever. With a zero Digests, images are run by
// the names that users give them.
type Digests struct {
	// Known returns the image of each container, by the container's name, where nobody has to be asked; nil otherwise. It must not block.
	Known func(*servingv1.Revision) map[string]string
	// Resolve asks whom it must. It may take long, and ends with its context at the latest. Its error is a sentence for the conditions.
	Resolve func(context.Context, *servingv1.Revision) (map[string]string, error)
}

// The back-off of a resolution that fails. A registry may be away for long, and an image may be pushed late.
const (
	firstResolveRetry = time.Second
	lastResolveRetry  = 2 * time.Minute
)

// notResolved is the reason of a revision whose image cannot be resolved, as in Knative.
const notResolved = "ContainerMissing"

// resolving has images resolved, each revision's in a goroutine of its own, so that a slow registry delays the revisions that need it and
// no others.
type resolving struct {
	// Set once.
	digests Digests
	done    func(revision model.Key) // a resolution has ended
	ctx     context.Context
	stop    context.CancelFunc

	// Guarded by mu.
	mu      sync.Mutex
	lookups map[model.Key]*lookup // of revisions whose status lacks digests
}

// lookup is the resolution of one revision.
type lookup struct {
	uid      string
	stop     context.CancelFunc
	running  bool
	images   map[string]string // of an attempt that succeeded
	problem  string            // of the last attempt that ended
	failures int
	retry    time.Time // when the next attempt may begin
}

func newResolving(d Digests, done func(model.Key)) *resolving {
	r := &resolving{digests: d, done: done, lookups: map[model.Key]*lookup{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// found is what is known of a revision's images.
type found struct {
	// images by container; nil while they are not known. With a stored status they are the revision's for good.
	images map[string]string
	// store says that the images must be in the status before the revision runs: another attempt could have another result.
	store bool
	// problem is why the last attempt failed; empty when there was none.
	problem string
	// again is after what time to look again; 0 means that done is going to be called.
	again time.Duration
}

// of returns what is known of a revision's images, and begins an attempt to resolve them where that is due.
func (r *resolving) of(revision *servingv1.Revision) found {
	key := model.Key{Namespace: revision.Namespace, Name: revision.Name}
	if convert.Resolved(revision) {
		r.drop(key)
		return found{images: convert.ResolvedImages(revision)}
	}
	if r.digests.Resolve == nil {
		return found{images: revision.Images()}
	}
	if images := r.digests.Known(revision); images != nil {
		return found{images: images}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lookups[key]
	if l == nil || l.uid != string(revision.UID) {
		if l != nil {
			l.stop()
		}
		l = &lookup{uid: string(revision.UID), stop: func() {}}
		r.lookups[key] = l
	}
	if l.images != nil {
		return found{images: l.images, store: true}
	}
	wait := time.Until(l.retry)
	if l.running || wait > 0 {
		return found{problem: l.problem, again: max(wait, 0)}
	}
	r.begin(key, l, revision)
	return found{problem: l.problem}
}

// begin begins an attempt. The mutex is held.
func (r *resolving) begin(key model.Key, l *lookup, revision *servingv1.Revision) {
	ctx, stop := context.WithCancel(r.ctx)
	l.running, l.stop = true, stop
	go func() {
		defer stop()
		images, err := r.digests.Resolve(ctx, revision)
		r.mu.Lock()
		l.running, l.images = false, images
		if err != nil {
			l.images, l.problem = nil, err.Error()
			l.retry = time.Now().Add(min(firstResolveRetry<<min(l.failures, 10), lastResolveRetry))
			l.failures++
		}
		gone := r.lookups[key] != l
		r.mu.Unlock()
		if !gone {
			r.done(key)
		}
	}()
}

// drop forgets a revision and ends the attempt that runs for it.
func (r *resolving) drop(key model.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.lookups[key]; l != nil {
		l.stop()
		delete(r.lookups, key)
	}
}

// withImages returns a revision with its images in the status: a copy, or the revision itself where nothing is new.
func withImages(revision *servingv1.Revision, images map[string]string) *servingv1.Revision {
	if images == nil || convert.Resolved(revision) {
		return revision
	}
	out := revision.DeepCopy()
	convert.SetImages(out, images)
	return out
}

// resolve returns a revision with its images by digest in the status, and stores them there before they are used for the first time. The
// Problem is why they are not known, nil while nobody has said so.
func (a *Adapter) resolve(ctx context.Context, revision *servingv1.Revision) (*servingv1.Revision, found, error) {
	f := a.resolving.of(revision)
	resolved := withImages(revision, f.images)
	if f.store {
		if err := writeStatus(ctx, a, resolved, revision.Status, resolved.Status); err != nil {
			return nil, f, err
		}
	}
	return resolved, f, nil
}
