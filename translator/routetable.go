package translator

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
)

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField = 2

// chunk is the virtual hosts of one Route in one RouteConfiguration, encoded as fields of it.
type chunk struct {
	bytes []byte
	hash  uint64
}

func (c *chunk) add(vh *routev3.VirtualHost) error {
	if vh == nil {
		return nil
	}
	if err := validate(vh); err != nil {
		return fmt.Errorf("validating virtual host %q: %w", vh.GetName(), err)
	}
	body, err := marshal(vh)
	if err != nil {
		return fmt.Errorf("encoding virtual host %q: %w", vh.GetName(), err)
	}
	c.bytes = appendField(c.bytes, virtualHostsField, body)
	c.hash = xxhash.Sum64(c.bytes)
	return nil
}

// routeTable is a RouteConfiguration of the gateway: the chunks of all Routes, one after the other.
type routeTable struct {
	resource *Resource
	// ends are the offsets in the body at which the chunk of each Route ends.
	ends []int
	// sum adds up the hashes of the chunks. It need not depend on their order, because each chunk contains the name that determines
	// its place.
	sum uint64
}

// update makes the table of the current Routes from the previous one. It encodes only the Routes between the first and the last
// difference, and copies the rest in two blocks. t may be nil: there was no table before.
//
// Matching ignores the port of a Host header, which is not stripped: applications build URLs from the header as the client sent it.
func (t *routeTable) update(name string, before, now []*routePart, of func(*routePart) chunk) *routeTable {
	head := mustMarshal(&routev3.RouteConfiguration{Name: name})
	tail := mustMarshal(&routev3.RouteConfiguration{IgnorePortInHostMatching: true, RequestHeadersToRemove: contract.InternalHeaders})
	if t == nil {
		t, before = &routeTable{resource: &Resource{Body: append(head, tail...)}}, nil
	}
	d := difference(before, now)
	if d.empty() && t.resource.Version != "" {
		return t
	}
	start := func(i int) int {
		if i == 0 {
			return len(head)
		}
		return t.ends[i-1]
	}
	next := &routeTable{ends: make([]int, 0, len(now)), sum: t.sum}
	next.ends = append(next.ends, t.ends[:d.from]...)
	for _, p := range before[d.from:d.oldTo] {
		next.sum -= of(p).hash
	}
	segments, end := [][]byte{t.resource.Body[:start(d.from)]}, start(d.from)
	for _, p := range now[d.from:d.newTo] {
		c := of(p)
		next.sum += c.hash
		end += len(c.bytes)
		next.ends = append(next.ends, end)
		segments = append(segments, c.bytes)
	}
	for _, e := range t.ends[d.oldTo:] {
		next.ends = append(next.ends, e+end-start(d.oldTo))
	}
	next.resource = t.resource
	if v := formatVersion(xxhash.Sum64String(string(head) + string(tail) + strconv.FormatUint(next.sum, 16))); v != t.resource.Version {
		segments = append(segments, t.resource.Body[start(d.oldTo):])
		// Join does not clear the megabytes that it is about to write.
		next.resource = &Resource{Type: RouteType, Name: name, Version: v, Body: bytes.Join(segments, nil), Roles: RoleGateway}
	}
	return next
}

// mustMarshal encodes a message that contains no input.
func mustMarshal(m proto.Message) []byte {
	body, err := marshal(m)
	if err != nil {
		panic(err)
	}
	return body
}
