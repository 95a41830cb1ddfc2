package xds

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

type sotwStream = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer

// sotwWire speaks the state-of-the-world protocol.
type sotwWire struct{ grpc sotwStream }

// versionText is the version of a set of resources, by the sum of their hashes.
func versionText(sum uint64) string { return fmt.Sprintf("%016x", sum) }

func (s sotwWire) receive() (*request, error) {
	r, err := s.grpc.Recv()
	if err != nil {
		return nil, err
	}
	return &request{
		node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), refusal: r.GetErrorDetail(),
		names: r.GetResourceNames(), version: r.GetVersionInfo(),
	}, nil
}

func (s sotwWire) whole() bool { return true }

// current is not so for a request that was under way when the last response was: another follows, with newer names. What it says
// of the response before counts. The first of its type is taken with whatever nonce, since some clients send that of another type.
func (s sotwWire) current(w *watch, r *request, first bool) bool { return first || r.nonce == w.nonce }

func (s sotwWire) subscribe(w *watch, r *request, first bool) error {
	names := hashNames(r.names)
	if !first && (names == w.lastNames || len(r.names) == 0 && !w.explicit) {
		return nil // an acknowledgement: it repeats the names
	}
	w.lastNames = names
	w.explicit = w.explicit || len(r.names) > 0
	defer w.stream.asked(w, first)
	return w.stream.subscribing(w, first, func(s subscriber) error {
		if err := s.replace(r.names, first); err != nil {
			return err
		}
		if first && r.version != "" {
			s.recognise(r.version)
		}
		return nil
	})
}

func hashNames(names []string) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, name := range names {
		_, _ = d.WriteString(name)
		_, _ = d.Write([]byte{0})
	}
	return d.Sum64()
}

// replace makes the names all that the client wants. An empty first list, or "*" among the names, is everything.
func (s subscriber) replace(names []string, first bool) error {
	w := s.watch
	wanted := make(map[string]struct{}, len(names))
	for _, name := range names {
		wanted[name] = struct{}{}
	}
	_, all := wanted[everything]
	delete(wanted, everything)
	if all || first && len(names) == 0 {
		if !w.wildcard {
			if err := s.wantAll(); err != nil {
				return err
			}
		}
	} else if w.wildcard {
		s.releaseAll()
	}
	return s.replaceNames(wanted)
}

func (s subscriber) replaceNames(wanted map[string]struct{}) error {
	for name := range s.watch.items {
		if _, ok := wanted[name]; !ok {
			s.release(name)
		}
	}
	for name := range wanted {
		if s.watch.items[name].named {
			continue
		}
		if err := s.want(name); err != nil {
			return err
		}
	}
	return nil
}

// recognise keeps everything back if its version is what the client has from an earlier stream.
func (s subscriber) recognise(version string) {
	if s.store.given[s.watch.url] != "" {
		return // whatever it has may go by that name
	}
	w := s.watch
	sum := uint64(0)
	for _, e := range w.pending.set {
		if e == nil {
			if w.kind.full {
				return // it has to be told that there is nothing of this name
			}
			continue
		}
		sum += e.hash
	}
	if versionText(sum) != version {
		return
	}
	for name, e := range w.pending.set {
		if w.sent(name, e); e != nil {
			w.take(name)
			s.store.acknowledge(s.table.tableKey, e)
		}
	}
	w.sum = w.version
	w.pending.set = emptied(w.pending.set)
	w.owed = false
}

func (s sotwWire) messages(w *watch, p push) []push {
	if w.kind.full {
		return []push{{set: w.everythingSent()}}
	}
	if len(p.set) == 0 && !w.owed {
		return nil // the protocol cannot say that something is gone
	}
	return deltaWire{}.messages(w, push{set: p.set})
}

// everythingSent is all that the client is to have, by name.
func (w *watch) everythingSent() []*entry {
	all := make([]*entry, 0, len(w.items))
	for _, it := range w.items {
		if it.sent != nil {
			all = append(all, it.sent)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (s sotwWire) transmit(w *watch, p push, nonce string) error {
	return s.grpc.SendMsg(encodeState(w, p, nonce))
}
