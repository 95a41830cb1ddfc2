package xds

import (
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// maxMessage is the size in bytes at which a response is split: well under the 4 MiB that gRPC clients take by default. A
// single resource that is larger goes alone, and so does a list that the protocol does not let us split.
const maxMessage = 2 << 20

// overhead is what a resource takes in a message beside its body and names, in bytes, at most.
const overhead = 64

type deltaStream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

// deltaWire speaks the incremental protocol.
type deltaWire struct{ grpc deltaStream }

func (d deltaWire) receive() (*request, error) {
	r, err := d.grpc.Recv()
	if err != nil {
		return nil, err
	}
	return &request{
		node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), refusal: r.GetErrorDetail(),
		subscribe: r.GetResourceNamesSubscribe(), unsubscribe: r.GetResourceNamesUnsubscribe(),
		initial: r.GetInitialResourceVersions(),
	}, nil
}

func (d deltaWire) whole() bool { return false }

// current is always so: a request says what changes, whatever response it follows.
func (d deltaWire) current(*watch, *request, bool) bool { return true }

func (d deltaWire) subscribe(w *watch, r *request, first bool) error {
	if !first && len(r.subscribe)+len(r.unsubscribe) == 0 {
		return nil
	}
	defer w.stream.asked(w, first)
	return w.stream.subscribing(w, first, func(s subscriber) error {
		if first {
			s.claims(r.initial)
		}
		asked := r.subscribe
		if first && len(asked) == 0 {
			asked = []string{everything}
		}
		for _, name := range asked {
			if err := s.wantAny(name); err != nil {
				return err
			}
		}
		for _, name := range r.unsubscribe {
			s.letGo(name)
		}
		if first {
			s.settleClaims(r.initial)
		}
		return nil
	})
}

// claims notes what a client has from an earlier stream.
func (s subscriber) claims(initial map[string]string) {
	for name, version := range initial {
		e := s.table.entries[name]
		if e == nil || e.Version != version {
			e = claim(s.watch.url, name, version)
		}
		s.watch.sent(name, e)
		s.watch.take(name)
	}
}

// settleClaims keeps back what a client has already, and forgets what it has but does not want.
func (s subscriber) settleClaims(initial map[string]string) {
	w := s.watch
	for name := range initial {
		it := w.items[name]
		switch {
		case !it.named && !w.wildcard:
			w.forget(name)
		case it.sent != nil && s.table.entries[name] == it.sent:
			delete(w.pending.set, name)
			s.store.acknowledge(s.table.tableKey, it.sent)
		}
	}
}

// letGo is a client's unsubscribing. One that still wants everything does not know whether the resource is part of that, so
// it is told.
func (s subscriber) letGo(name string) {
	if name == everything {
		s.releaseAll()
	} else if s.release(name) && s.watch.wildcard {
		s.tell(name, s.since)
	}
}

func (d deltaWire) messages(w *watch, p push) []push {
	if w.kind.whole {
		return []push{p}
	}
	parts, size := []push{{}}, 0
	next := func(bytes int) *push {
		if size += bytes + overhead; size > maxMessage && size > bytes+overhead {
			parts, size = append(parts, push{}), bytes+overhead
		}
		return &parts[len(parts)-1]
	}
	for _, e := range p.set {
		part := next(len(e.Body) + len(e.Name) + len(e.Version) + len(e.Type))
		part.set = append(part.set, e)
	}
	for _, name := range p.gone {
		part := next(len(name))
		part.gone = append(part.gone, name)
	}
	return parts
}

func (d deltaWire) transmit(w *watch, p push, nonce string) error {
	return d.grpc.SendMsg(encodeDelta(w, p, nonce))
}
