package xds

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // codec falls back on it
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/session"
)

// encoded is a response in its wire format. It shares the bodies of resources with all other clients, from Apply to the socket.
type encoded mem.BufferSlice

// shareFrom is the size in bytes from which a body is shared. A copy of a smaller body is cheaper than one more buffer.
const shareFrom = 512

// Field numbers of envoy/service/discovery/v3/discovery.proto and google/protobuf/any.proto.
const (
	fieldDeltaVersion   protowire.Number = 1 // DeltaDiscoveryResponse
	fieldDeltaResources protowire.Number = 2
	fieldDeltaType      protowire.Number = 4
	fieldDeltaNonce     protowire.Number = 5
	fieldDeltaRemoved   protowire.Number = 6

	fieldVersion   protowire.Number = 1 // DiscoveryResponse
	fieldResources protowire.Number = 2
	fieldType      protowire.Number = 4
	fieldNonce     protowire.Number = 5

	fieldResourceVersion protowire.Number = 1 // Resource
	fieldResourceAny     protowire.Number = 2
	fieldResourceName    protowire.Number = 3

	fieldAnyType  protowire.Number = 1 // Any
	fieldAnyValue protowire.Number = 2
)

// encoder builds a message of copied and shared bytes.
type encoder struct {
	own    []byte // copied bytes since the last shared ones
	pieces mem.BufferSlice
}

func (e *encoder) text(field protowire.Number, s string) {
	if s != "" {
		e.own = protowire.AppendTag(e.own, field, protowire.BytesType)
		e.own = protowire.AppendString(e.own, s)
	}
}

// open begins an inner message, which must have the size.
func (e *encoder) open(field protowire.Number, size int) {
	e.own = protowire.AppendTag(e.own, field, protowire.BytesType)
	e.own = protowire.AppendVarint(e.own, uint64(size))
}

// any is the resource as the fields of an Any.
func (e *encoder) any(r *offer.Entry) {
	e.text(fieldAnyType, r.Type)
	if len(r.Body) == 0 {
		return
	}
	e.open(fieldAnyValue, len(r.Body))
	if len(r.Body) < shareFrom {
		e.own = append(e.own, r.Body...)
		return
	}
	e.flush()
	e.pieces = append(e.pieces, mem.SliceBuffer(r.Body))
}

// flush ends the run of copied bytes. Later bytes go into the rest of the same array.
func (e *encoder) flush() {
	if n := len(e.own); n > 0 {
		e.pieces = append(e.pieces, mem.SliceBuffer(e.own[:n:n]))
		e.own = e.own[n:]
	}
}

func (e *encoder) done() encoded {
	e.flush()
	return encoded(e.pieces)
}

// sizeText is the size of a field with a text.
func sizeText(field protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return sizeBytes(field, len(s))
}

func sizeBytes(field protowire.Number, length int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(length)
}

func sizeAny(r *offer.Entry) int {
	size := sizeText(fieldAnyType, r.Type)
	if len(r.Body) > 0 {
		size += sizeBytes(fieldAnyValue, len(r.Body))
	}
	return size
}

func sizeResource(r *offer.Entry) int {
	return sizeText(fieldResourceVersion, r.Version) + sizeBytes(fieldResourceAny, sizeAny(r)) + sizeText(fieldResourceName, r.Name)
}

// copied is about how many bytes of a resource's encoding are not shared.
func copied(r *offer.Entry) int {
	size := len(r.Type) + len(r.Version) + len(r.Name) + session.Overhead
	if len(r.Body) < shareFrom {
		size += len(r.Body)
	}
	return size
}

// newEncoder has room for the copied bytes of a response.
func newEncoder(r *session.Response) *encoder {
	size := len(r.Type) + len(r.Version) + len(r.Nonce) + 3*session.Overhead
	for _, e := range r.Resources {
		size += copied(e)
	}
	for _, name := range r.Removed {
		size += len(name) + session.Overhead
	}
	return &encoder{own: make([]byte, 0, size)}
}

// encodeDelta is a DeltaDiscoveryResponse.
func encodeDelta(r *session.Response) encoded {
	e := newEncoder(r)
	e.text(fieldDeltaVersion, r.Version)
	for _, entry := range r.Resources {
		e.open(fieldDeltaResources, sizeResource(entry))
		e.text(fieldResourceVersion, entry.Version)
		e.open(fieldResourceAny, sizeAny(entry))
		e.any(entry)
		e.text(fieldResourceName, entry.Name)
	}
	e.text(fieldDeltaType, r.Type)
	e.text(fieldDeltaNonce, r.Nonce)
	for _, name := range r.Removed {
		e.open(fieldDeltaRemoved, len(name)) // an empty name counts
		e.own = append(e.own, name...)
	}
	return e.done()
}

// encodeState is a DiscoveryResponse.
func encodeState(r *session.Response) encoded {
	e := newEncoder(r)
	e.text(fieldVersion, r.Version)
	for _, entry := range r.Resources {
		e.open(fieldResources, sizeAny(entry))
		e.any(entry)
	}
	e.text(fieldType, r.Type)
	e.text(fieldNonce, r.Nonce)
	return e.done()
}

// codec is gRPC's own codec that also takes encoded responses.
type codec struct{ encoding.CodecV2 }

func newCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if e, ok := v.(encoded); ok {
		return mem.BufferSlice(e), nil
	}
	return c.CodecV2.Marshal(v)
}
