package session

import "sync/atomic"

// Traffic counts responses and answers.
type Traffic struct {
	Pushes uint64 // responses sent
	Bytes  uint64 // bytes of resource bodies sent
	Acks   uint64
	Nacks  uint64
}

// Add makes the receiver the sum of both.
func (t *Traffic) Add(o Traffic) {
	t.Pushes += o.Pushes
	t.Bytes += o.Bytes
	t.Acks += o.Acks
	t.Nacks += o.Nacks
}

// atomicTraffic is Traffic that any goroutine may read.
type atomicTraffic struct{ pushes, bytes, acks, nacks atomic.Uint64 }

func (t *atomicTraffic) add(o Traffic) {
	if o.Pushes > 0 {
		t.pushes.Add(o.Pushes)
		t.bytes.Add(o.Bytes)
	}
	if o.Acks > 0 {
		t.acks.Add(o.Acks)
	}
	if o.Nacks > 0 {
		t.nacks.Add(o.Nacks)
	}
}

func (t *atomicTraffic) load() Traffic {
	return Traffic{Pushes: t.pushes.Load(), Bytes: t.bytes.Load(), Acks: t.acks.Load(), Nacks: t.nacks.Load()}
}
