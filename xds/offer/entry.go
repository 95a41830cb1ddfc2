package offer

import (
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"sluice.dev/sluice/xds/resource"
)

// Entry is a resource as the state and all clients share it. It never changes, except for the record of which roles have acknowledged it.
type Entry struct {
	*resource.Resource
	Needs []resource.Need // what a client will subscribe to once it has the resource
	Hash  uint64          // of name and version; the version of a set of resources is the sum of their hashes
	seq   uint64          // the state that it came with
	at    int64           // when it came, in Unix nanoseconds; 0: unknown
	acked atomic.Uint32   // roles of which a client has acknowledged it
}

// NewEntry computes what an entry adds to its resource.
func NewEntry(r *resource.Resource) *Entry {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(r.Name)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(r.Version)
	return &Entry{Resource: r, Needs: resource.NeedsOf(r), Hash: d.Sum64()}
}

// NewClaimed is an entry for a resource that a client has from an earlier stream, with content that the server does not know.
func NewClaimed(url, name, version string) *Entry {
	return &Entry{Resource: &resource.Resource{Type: url, Name: name, Version: version}}
}

// Claimed is whether only the client knows the content.
func (e *Entry) Claimed() bool { return e.Roles == 0 }

// Time is when the content came; the zero time if that is unknown.
func (e *Entry) Time() time.Time {
	if e.at == 0 {
		return time.Time{}
	}
	return time.Unix(0, e.at)
}

// AckedBy is whether a client of the role has acknowledged the content. Any goroutine may call it.
func (e *Entry) AckedBy(role uint8) bool { return e.acked.Load()&uint32(role) != 0 }

func (e *Entry) ack(role uint8) { e.acked.Or(uint32(role)) }

// Same is whether two entries of one name have the same content. Either may be nil.
func Same(a, b *Entry) bool { return a == b || a != nil && b != nil && a.Version == b.Version }
