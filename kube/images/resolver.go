// Package images has the images of revisions resolved to digests, each revision's in a goroutine of its own, with a back-off. It must not
// know how a registry is asked, nor what a controller does with the result.
package images

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

// Resolver has images resolved, each revision's in a goroutine of its own, so that a slow registry delays the revisions that need it and
// no others. Its methods may be called from any goroutine.
type Resolver struct {
	// Set once.
	digests Digests
	done    func(revision model.Key) // a resolution has ended
	ctx     context.Context
	cancel  context.CancelFunc

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

// New makes a Resolver. It calls done whenever a resolution of a revision has ended, from any goroutine.
func New(d Digests, done func(revision model.Key)) *Resolver {
	r := &Resolver{digests: d, done: done, lookups: map[model.Key]*lookup{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Stop ends all resolutions.
func (r *Resolver) Stop() { r.cancel() }

// Found is what is known of a revision's images.
type Found struct {
	// Images by container; nil while they are not known. With a stored status they are the revision's for good.
	Images map[string]string
	// Store says that the images must be in the status before the revision runs: another attempt could have another result.
	Store bool
	// Problem is a sentence that says why the last attempt failed; empty when there was none.
	Problem string
	// Again is after what time to look again; 0 means that done is going to be called.
	Again time.Duration
}

// Of returns what is known of a revision's images, and begins an attempt to resolve them where that is due.
func (r *Resolver) Of(revision *servingv1.Revision) Found {
	key := model.Key{Namespace: revision.Namespace, Name: revision.Name}
	if convert.Resolved(revision) {
		r.Forget(key)
		return Found{Images: convert.ResolvedImages(revision)}
	}
	if r.digests.Resolve == nil {
		return Found{Images: revision.Images()}
	}
	if images := r.digests.Known(revision); images != nil {
		return Found{Images: images}
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
		return Found{Images: l.images, Store: true}
	}
	wait := time.Until(l.retry)
	if l.running || wait > 0 {
		return Found{Problem: l.problem, Again: max(wait, 0)}
	}
	r.begin(key, l, revision)
	return Found{Problem: l.problem}
}

// begin begins an attempt. The mutex is held.
func (r *Resolver) begin(key model.Key, l *lookup, revision *servingv1.Revision) {
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

// Forget forgets a revision and ends the attempt that runs for it.
func (r *Resolver) Forget(key model.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.lookups[key]; l != nil {
		l.stop()
		delete(r.lookups, key)
	}
}

// With returns a revision with its images in the status: a copy, or the revision itself where nothing is new.
func With(revision *servingv1.Revision, images map[string]string) *servingv1.Revision {
	if images == nil || convert.Resolved(revision) {
		return revision
	}
	out := revision.DeepCopy()
	convert.SetImages(out, images)
	return out
}
