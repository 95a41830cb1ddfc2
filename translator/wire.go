package translator

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// marshal encodes deterministically, so that equal messages have equal bytes.
func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// anyOf packs a message that this package made from checked parts. An error would be our mistake; it becomes an empty Any, which fails
// validation.
func anyOf(m proto.Message) *anypb.Any {
	body, err := marshal(m)
	if err != nil {
		return &anypb.Any{}
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: body}
}

// version is the content hash of a resource. It distinguishes two contents of one resource, and a forged collision would withhold an update
// only from its author: 64 bits of a fast hash are enough.
func version(body []byte) string { return formatVersion(xxhash.Sum64(body)) }

func formatVersion(hash uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], hash)
	return hex.EncodeToString(b[:])
}

// newResource validates and encodes a message.
func newResource(typeURL, name string, roles uint8, m proto.Message) (*Resource, error) {
	if err := validate(m); err != nil {
		return nil, fmt.Errorf("validating %q: %w", name, err)
	}
	body, err := marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding %q: %w", name, err)
	}
	return &Resource{Type: typeURL, Name: name, Version: version(body), Body: body, Roles: roles}, nil
}

// kept returns the resource of old that equals r, or r: an unchanged resource keeps its pointer and its memory.
func kept(old *Unit, r *Resource) *Resource {
	if old != nil {
		for _, o := range old.Resources {
			if o.identity() == r.identity() && o.Version == r.Version {
				return o
			}
		}
	}
	return r
}

// newUnit returns old if its resources are the same, and otherwise a new Unit. Unchanged resources keep their pointers.
func newUnit(old *Unit, key string, at position, resources []*Resource) *Unit {
	same := old != nil && len(old.Resources) == len(resources)
	for i, r := range resources {
		resources[i] = kept(old, r)
		same = same && resources[i] == old.Resources[i]
	}
	if same {
		return old
	}
	return &Unit{Key: key, Resources: resources, at: at}
}

// appendField appends one length-delimited field of a message.
func appendField(b []byte, number protowire.Number, value []byte) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return protowire.AppendBytes(b, value)
}

// resourceBuilder collects the resources of one owner, up to the first error.
type resourceBuilder struct {
	resources []*Resource
	err       error
}

func (b *resourceBuilder) add(typeURL, name string, roles uint8, m proto.Message) {
	if b.err != nil {
		return
	}
	r, err := newResource(typeURL, name, roles, m)
	if err != nil {
		b.err = err
		return
	}
	b.keep(r)
}

func (b *resourceBuilder) keep(r *Resource) { b.resources = append(b.resources, r) }
