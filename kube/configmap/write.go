package configmap

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"sluice.dev/sluice/config"
)

// Reasons of Events.
const (
	ReasonInvalid = "InvalidConfiguration" // the ConfigMap is wrong, and has no effect
	ReasonIgnored = "IgnoredConfiguration" // a part of it has no effect
	ReasonValid   = "ValidConfiguration"   // it was one of the others, and is right again
)

// LastGoodName is the ConfigMap with the last good data of all others: one key for each, whose value is the data as JSON. A process that
// starts while a ConfigMap is wrong reads it. Nobody else should change it.
const LastGoodName = "config-last-good"

// component is who the Events are from.
const component = "sluice-controller"

// notice is an Event.
type notice struct{ kind, reason, message string }

// due returns the Event that a ConfigMap should have had last. It is empty when there is nothing to tell.
func (s *state) due() notice {
	switch {
	case s.object == nil:
		return notice{}
	case s.wrong != "":
		return notice{corev1.EventTypeWarning, ReasonInvalid, s.wrong}
	case s.ignored != "":
		return notice{corev1.EventTypeWarning, ReasonIgnored, s.ignored}
	case s.last.kind == corev1.EventTypeWarning:
		return notice{corev1.EventTypeNormal, ReasonValid, "Nothing is wrong with the data any more. They are in force."}
	}
	return s.last
}

// newRecorder returns a recorder of Events, and a function that ends it.
func newRecorder(ctx context.Context, events corev1client.EventInterface) (record.EventRecorder, func()) {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: events})
	return b.NewRecorder(clientgoscheme.Scheme, corev1.EventSource{Component: component}), b.Shutdown
}

// write records the Events that are due, and stores the last good data, if this process leads.
func (w *Watcher) write(ctx context.Context) {
	if !w.options.Leads() {
		return
	}
	w.mu.Lock()
	for _, name := range config.Names() {
		s := w.states[name]
		due := s.due()
		if due != s.last && due != (notice{}) {
			w.events.Event(s.object, due.kind, due.reason, due.message)
		}
		s.last = due
	}
	w.mu.Unlock()
	w.good.store(ctx)
}

// lastGood keeps the last good data of ConfigMaps for the next process.
type lastGood struct {
	client corev1client.ConfigMapInterface
	log    hclog.Logger

	stored *corev1.ConfigMap // as it was last read or written; nil when there is none
	data   map[string]string // as it should be
	failed bool              // the last write
}

func newLastGood(client corev1client.ConfigMapInterface, log hclog.Logger) *lastGood {
	return &lastGood{client: client, log: log, data: map[string]string{}}
}

// load reads what the process before stored. Without it, defaults take the place of wrong data, so a failure is only logged.
func (g *lastGood) load(ctx context.Context) {
	o, err := g.client.Get(ctx, LastGoodName, metav1.GetOptions{})
	switch {
	case err == nil:
		g.stored, g.data = o, maps.Clone(o.Data)
	case !apierrors.IsNotFound(err) && ctx.Err() == nil:
		g.log.Warn("cannot read the last good configuration", "configmap", LastGoodName, "error", err)
	}
	if g.data == nil {
		g.data = map[string]string{}
	}
}

// get returns the last good data of a ConfigMap.
func (g *lastGood) get(name string) (map[string]string, bool) {
	var data map[string]string
	err := json.Unmarshal([]byte(g.data[name]), &data)
	return data, err == nil && g.data[name] != ""
}

// put notes the good data of a ConfigMap; nil when it is missing.
func (g *lastGood) put(name string, data map[string]string) {
	data = maps.Clone(data)
	delete(data, "_example")
	if len(data) == 0 {
		delete(g.data, name)
		return
	}
	text, err := json.Marshal(data)
	if err != nil { // cannot be: these are texts
		return
	}
	g.data[name] = string(text)
}

// store writes the data where they are not what is stored. It is called again after a failure.
func (g *lastGood) store(ctx context.Context) {
	if g.stored != nil && maps.Equal(g.stored.Data, g.data) || g.stored == nil && len(g.data) == 0 {
		return
	}
	var next *corev1.ConfigMap
	var err error
	if g.stored == nil {
		next, err = g.client.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: LastGoodName, Labels: map[string]string{"app.kubernetes.io/part-of": "sluice"}},
			Data:       maps.Clone(g.data),
		}, metav1.CreateOptions{})
	} else {
		next = g.stored.DeepCopy()
		next.Data = maps.Clone(g.data)
		next, err = g.client.Update(ctx, next, metav1.UpdateOptions{})
	}
	switch {
	case err == nil:
		g.stored, g.failed = next, false
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		g.reread(ctx)
	case ctx.Err() == nil && !g.failed:
		g.failed = true
		g.log.Warn("cannot store the last good configuration; trying again", "configmap", LastGoodName, "error", err)
	}
}

// reread reads the stored object after somebody else has changed it.
func (g *lastGood) reread(ctx context.Context) {
	o, err := g.client.Get(ctx, LastGoodName, metav1.GetOptions{})
	switch {
	case err == nil:
		g.stored = o
	case apierrors.IsNotFound(err):
		g.stored = nil
	}
}
