package kube

import (
	"testing"

	"sluice.dev/sluice/model"
)

// TestNothingBringsARemovedRevisionBack has the runtime report a revision while it is being removed.
func TestNothingBringsARemovedRevisionBack(t *testing.T) {
	a := newAssembler(model.Gateway{}, "")
	b := newBacking(a, func(model.Key, bool) {})
	spoken := make(chan bool)
	key := model.Key{Namespace: "default", Name: "hello-00001"}
	status := model.WorkloadStatus{Revision: key, UID: "1", Ready: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}}
	f := &fleet{run: func(model.Workload) {}, backend: b.setBackend, keep: a.keep, members: map[model.Key]*member{}}
	f.forget = func(k model.Key) {
		b.removeBackend(k)
		go func() { spoken <- f.observe(status) }()
	}
	f.set(plan{workload: model.Workload{Revision: key, UID: "1"}, runnable: true, backend: model.Backend{Revision: key}})
	if !f.observe(status) || len(a.known) != 1 || len(a.kept) != 1 {
		t.Fatalf("the revision that runs is not known: %v, kept %v", a.known, a.kept)
	}
	f.remove(key)
	if <-spoken || len(a.known) != 0 || len(a.kept) != 0 {
		t.Errorf("known: %v, kept: %v, want nothing of what is gone", a.known, a.kept)
	}
}
