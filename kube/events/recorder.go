// Package events tells the users of objects by Kubernetes Events what becomes of them, and how often at most. It must not decide anything.
package events

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube/notebook"
	"sluice.dev/sluice/model"
)

// Reasons of Events of type Normal. A Warning has the reason of the condition that it tells of.
const (
	ReasonRevisionCreated = "RevisionCreated" // a Configuration has a new revision
	ReasonReady           = "Ready"           // the condition Ready has become True
	ReasonScaled          = "Scaled"          // a revision has another replica count
	ReasonTrafficChanged  = "TrafficChanged"  // gateways split the traffic of a Route in another way
)

// eventPace is the shortest time between two Events about the scale of a revision, or about the split of a Route. The later one tells of
// all steps since the earlier one.
const eventPace = time.Minute

// Bounds of the recorder for the Events of one type about one object: a burst, and then one in a time. client-go itself counts equal
// Events up, and combines those of one reason after ten in ten minutes.
const (
	eventBurst = 10
	eventEvery = time.Minute
)

// Events have a client of their own, so that a burst of them delays no other write.
const (
	eventQPS         = 20
	eventClientBurst = 50
)

// eventComponent is who the Events are from.
const eventComponent = "sluice-controller"

// Recorder records Events about the objects of users. The object of a user is the Service where a Service owns the Route or Configuration.
// Its methods do not block, and may be called from any goroutine.
type Recorder struct {
	broadcaster record.EventBroadcaster // nil: there are no Events
	recorder    record.EventRecorder
	sink        record.EventSink

	// What the last Event reported of a revision's replicas, and of a Route's split.
	replicas notebook.Notebook[model.Key, reported[int]]
	splits   notebook.Notebook[model.Key, reported[string]]
}

// reported is a state that an Event has reported.
type reported[T comparable] struct {
	state T
	at    time.Time // of the Event; zero: the state is the one of the start
}

// New makes a Recorder that writes Events to an API server, about objects of the scheme. Without a config it records none.
func New(config *rest.Config, scheme *runtime.Scheme) (*Recorder, error) {
	e := &Recorder{}
	if config == nil {
		return e, nil
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = eventQPS, eventClientBurst
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server for Events: %w", err)
	}
	e.sink = &typedcorev1.EventSinkImpl{Interface: api.CoreV1().Events("")}
	e.broadcaster = record.NewBroadcaster(record.WithCorrelatorOptions(record.CorrelatorOptions{
		BurstSize: eventBurst, QPS: 1 / float32(eventEvery/time.Second),
	}))
	e.recorder = e.broadcaster.NewRecorder(scheme, corev1.EventSource{Component: eventComponent})
	return e, nil
}

// Run sends Events until the context ends.
func (e *Recorder) Run(ctx context.Context) error {
	if e.broadcaster == nil {
		return nil
	}
	watching := e.broadcaster.StartRecordingToSink(e.sink)
	<-ctx.Done()
	watching.Stop()
	e.broadcaster.Shutdown()
	return nil
}

// Tell records an Event of a type, such as corev1.EventTypeNormal, about an object.
func (e *Recorder) Tell(about runtime.Object, kind, reason, message string) {
	if e.recorder != nil {
		e.recorder.Event(about, kind, reason, message)
	}
}

// Subject is the object of the user that an object belongs to: the Service that owns it, or itself.
func Subject(o client.Object) runtime.Object {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind != servingv1.KindService {
		return o
	}
	return &corev1.ObjectReference{
		APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: o.GetNamespace(), Name: owner.Name, UID: owner.UID,
	}
}

// IsOwned says that a Service owns an object. The Service's own conditions have what is wrong with it.
func IsOwned(o client.Object) bool { return Subject(o) != runtime.Object(o) }

// Conditions tells of a change of conditions that was written: the object has become ready, or something is wrong with it. ready is what
// to say in the first case.
func (e *Recorder) Conditions(about client.Object, before, after *servingv1.Status, ready string) {
	is := after.Condition(servingv1.ConditionReady)
	if e.recorder == nil || is == nil {
		return
	}
	was := before.Condition(servingv1.ConditionReady)
	if was == nil {
		was = &servingv1.Condition{}
	}
	changed := was.Status != is.Status
	switch is.Status {
	case metav1.ConditionFalse:
		if changed || was.Reason != is.Reason || was.Message != is.Message {
			e.Tell(about, corev1.EventTypeWarning, is.Reason, is.Message)
		}
	case metav1.ConditionTrue:
		if changed {
			e.Tell(about, corev1.EventTypeNormal, ReasonReady, ready)
		}
	}
	if now := remark(after); now != (notice{}) && now != remark(before) {
		e.Tell(about, corev1.EventTypeWarning, now.Reason, now.Message)
	}
}

// notice is a reason with its sentence.
type notice struct{ Reason, Message string }

// remark returns what is wrong with an object although its condition is True, such as resources that gateways refuse. It is empty when
// there is nothing.
func remark(s *servingv1.Status) notice {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if c.Status == metav1.ConditionTrue && c.Reason != "" && c.Message != "" && c.Severity == "" {
			return notice{c.Reason, c.Message}
		}
	}
	return notice{}
}

// ForgetRevision forgets what Events have reported of a revision that is gone.
func (e *Recorder) ForgetRevision(k model.Key) { e.replicas.Drop(k) }

// ForgetRoute forgets what Events have reported of a Route that is gone.
func (e *Recorder) ForgetRoute(k model.Key) { e.splits.Drop(k) }

func keyOf(o client.Object) model.Key {
	return model.Key{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// step reports whether to tell of a new state now, and from which state it changed. Otherwise again is after what time to ask again; 0
// when there is nothing to report. was is the state of the start, such as the one that a process before has written.
func step[T comparable](n *notebook.Notebook[model.Key, reported[T]], key model.Key, was, is T,
	now time.Time) (from T, tell bool, again time.Duration) {
	last, known := n.Get(key)
	if !known {
		last = reported[T]{state: was}
		n.Put(key, last)
	}
	if last.state == is {
		return is, false, 0
	}
	if left := last.at.Add(eventPace).Sub(now); left > 0 {
		return last.state, false, left
	}
	n.Put(key, reported[T]{is, now})
	return last.state, true, 0
}

// Scaled tells of another replica count of a revision. why begins with the count and explains it; it may be empty. Scaled returns after
// what time to call it again; 0 means with the next change.
func (e *Recorder) Scaled(revision *servingv1.Revision, replicas int, why string, now time.Time) time.Duration {
	if e.recorder == nil {
		return 0
	}
	was := replicas // a revision that was never scaled only begins
	if d := revision.Status.DesiredReplicas; d != nil {
		was = int(*d)
	}
	from, tell, again := step(&e.replicas, keyOf(revision), was, replicas, now)
	if tell {
		if why == "" {
			why = strconv.Itoa(replicas)
		}
		e.Tell(revision, corev1.EventTypeNormal, ReasonScaled, fmt.Sprintf("Scaled from %d to %s", from, why))
	}
	return again
}

// Routed tells of another split of a Route's traffic, when gateways have it. It returns after what time to call it again; 0 means with
// the next change.
func (e *Recorder) Routed(before, after *servingv1.Route, now time.Time) time.Duration {
	if c := after.Status.Condition(servingv1.ConditionReady); e.recorder == nil || c == nil || c.Status != metav1.ConditionTrue {
		return 0
	}
	is, was := split(after.Status.Traffic), split(before.Status.Traffic)
	if was == "" {
		was = is // a new Route only begins
	}
	from, tell, again := step(&e.splits, keyOf(after), was, is, now)
	if tell {
		e.Tell(Subject(after), corev1.EventTypeNormal, ReasonTrafficChanged, fmt.Sprintf("Traffic is now %s; it was %s", is, from))
	}
	return again
}

// split is the traffic of a Route in words: shares first, then tags.
func split(targets []servingv1.TrafficTarget) string {
	var shares, tags []string
	for _, t := range targets {
		if t.Percent != nil && *t.Percent > 0 {
			shares = append(shares, fmt.Sprintf("%d%% %s", *t.Percent, t.RevisionName))
		}
		if t.Tag != "" {
			tags = append(tags, fmt.Sprintf("tag %s: %s", t.Tag, t.RevisionName))
		}
	}
	return strings.Join(append(shares, tags...), ", ")
}
