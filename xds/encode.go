package xds

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // is what codec falls back on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// encoded is a response in its wire format. Bodies of resources are not copied into it: all clients share the bytes that the
// store has, from Apply to the socket.
type encoded mem.BufferSlice

// shareFrom is the size of a body in bytes from which on it is not copied. Below it a copy is cheaper than one buffer more.
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

// encoder puts a message together out of copied and shared bytes.
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

// open begins a message within the message, which must have the size.
func (e *encoder) open(field protowire.Number, size int) {
	e.own = protowire.AppendTag(e.own, field, protowire.BytesType)
	e.own = protowire.AppendVarint(e.own, uint64(size))
}

// any is the resource as the fields of an Any.
func (e *encoder) any(r *entry) {
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

// flush ends the run of copied bytes. What comes after goes into the rest of the same array.
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

func sizeAny(r *entry) int {
	size := sizeText(fieldAnyType, r.Type)
	if len(r.Body) > 0 {
		size += sizeBytes(fieldAnyValue, len(r.Body))
	}
	return size
}

func sizeResource(r *entry) int {
	return sizeText(fieldResourceVersion, r.Version) + sizeBytes(fieldResourceAny, sizeAny(r)) + sizeText(fieldResourceName, r.Name)
}

// copied is how much of a resource's encoding is not shared, about.
func copied(r *entry) int {
	size := len(r.Type) + len(r.Version) + len(r.Name) + overhead
	if len(r.Body) < shareFrom {
		size += len(r.Body)
	}
	return size
}

// newEncoder has room for the copied bytes of a response.
func newEncoder(p push, texts ...string) *encoder {
	size := 0
	for _, r := range p.set {
		size += copied(r)
	}
	for _, name := range p.gone {
		size += len(name) + overhead
	}
	for _, text := range texts {
		size += len(text) + overhead
	}
	return &encoder{own: make([]byte, 0, size)}
}

// encodeDelta is a DeltaDiscoveryResponse.
func encodeDelta(w *watch, p push, nonce string) encoded {
	version := w.versionInfo()
	e := newEncoder(p, version, w.url, nonce)
	e.text(fieldDeltaVersion, version)
	for _, r := range p.set {
		e.open(fieldDeltaResources, sizeResource(r))
		e.text(fieldResourceVersion, r.Version)
		e.open(fieldResourceAny, sizeAny(r))
		e.any(r)
		e.text(fieldResourceName, r.Name)
	}
	e.text(fieldDeltaType, w.url)
	e.text(fieldDeltaNonce, nonce)
	for _, name := range p.gone {
		e.open(fieldDeltaRemoved, len(name)) // an empty name counts
		e.own = append(e.own, name...)
	}
	return e.done()
}

// encodeState is a DiscoveryResponse.
func encodeState(w *watch, p push, nonce string) encoded {
	version := w.versionInfo()
	e := newEncoder(p, version, w.url, nonce)
	e.text(fieldVersion, version)
	for _, r := range p.set {
		e.open(fieldResources, sizeAny(r))
		e.any(r)
	}
	e.text(fieldType, w.url)
	e.text(fieldNonce, nonce)
	return e.done()
}

// codec is gRPC's own, but that it takes what is encoded already.
type codec struct{ encoding.CodecV2 }

func newCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if e, ok := v.(encoded); ok {
		return mem.BufferSlice(e), nil
	}
	return c.CodecV2.Marshal(v)
}
