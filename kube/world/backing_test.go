package world

import (
	"testing"

	"sluice.dev/sluice/model"
)

func TestRevisionIsBackedWhenEveryClientHasTheWorldThatSaysSo(t *testing.T) {
	backed := map[string]bool{}
	a := NewAssembler(model.Gateway{}, "")
	b := NewBacking(a, func(k model.Key, yes bool) { backed[k.Name] = yes })
	key := model.Key{Namespace: "default", Name: "a"}
	via := func(v model.Via) uint64 {
		b.SetBackend(&model.Backend{Revision: key, Via: v})
		return a.World().Generation
	}
	a.SetRoute(route("r", "a"))
	first := via(model.ViaActivator)
	b.Acknowledge(first)
	if backed["a"] {
		t.Fatal("backed although there is no activator")
	}
	b.SetActivators([]model.Endpoint{{Host: "127.0.0.1", Port: 8012}})
	if b.Acknowledge(first); !backed["a"] {
		t.Fatal("not backed although every client has the World")
	}
	if via(model.ViaReplicas); backed["a"] {
		t.Fatal("still backed although requests go to the replicas again")
	}
	again := via(model.ViaActivator)
	if b.Acknowledge(again - 1); backed["a"] {
		t.Fatal("backed by the acknowledgement of an older World")
	}
	if b.Acknowledge(again); !backed["a"] {
		t.Fatal("not backed by the acknowledgement of the World")
	}
	if b.SetActivators(nil); backed["a"] {
		t.Fatal("still backed when the last activator has gone")
	}
}
