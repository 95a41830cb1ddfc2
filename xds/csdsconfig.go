package xds

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type resourceStatus = statusv3.ClientConfig_GenericXdsConfig

// portion passes on the resources of one client, in as many configurations as it takes.
type portion struct {
	inspection *inspection
	node       *corev3.Node
	scope      string
	config     *statusv3.ClientConfig
	size       int
	told       int
}

func (p *portion) add(r *resourceStatus) error {
	if p.config == nil {
		p.config = &statusv3.ClientConfig{Node: p.node, ClientScope: p.scope}
	}
	p.config.GenericXdsConfigs = append(p.config.GenericXdsConfigs, r)
	if p.size += proto.Size(r); p.size < maxMessage/2 {
		return nil
	}
	return p.flush()
}

func (p *portion) flush() error {
	config := p.config
	p.config, p.size = nil, 0
	p.told++
	return p.inspection.emit(config)
}

// end passes on what is left; a client without resources is told too.
func (p *portion) end() error {
	if p.config == nil && p.told > 0 {
		return nil
	}
	if p.config == nil {
		p.config = &statusv3.ClientConfig{Node: p.node, ClientScope: p.scope}
	}
	return p.flush()
}

// tell passes on one stream; without a view, what is known without its writer.
func (in *inspection) tell(st *stream, v *view) error {
	node := &corev3.Node{}
	proto.Merge(node, st.seen.node)
	fields := maps.Clone(node.GetMetadata().GetFields())
	if fields == nil {
		fields = map[string]*structpb.Value{}
	}
	fields[StatusKey] = structpb.NewStructValue(st.figures(v, time.Now()))
	node.Metadata = &structpb.Struct{Fields: fields}
	p := &portion{inspection: in, node: node, scope: fmt.Sprintf("stream %d", st.seen.id)}
	if v != nil {
		for _, t := range v.types {
			for i := range t.holdings {
				if err := p.add(in.resource(t.url, &t.holdings[i])); err != nil {
					return err
				}
			}
		}
	}
	return p.end()
}

// figures are what is told of a client as a whole.
func (st *stream) figures(v *view, now time.Time) *structpb.Struct {
	l := st.lagging()
	if v != nil {
		l = v.lag
	}
	at, behind := l.newest, time.Duration(0)
	if l.behind != 0 {
		at, behind = l.behind-1, max(now.Sub(l.since), time.Millisecond)
	}
	f := map[string]*structpb.Value{
		"stream":    number(st.seen.id),
		"role":      structpb.NewStringValue(RoleName(st.role)),
		"protocol":  structpb.NewStringValue(st.seen.protocol),
		"service":   structpb.NewStringValue(st.seen.service),
		"connected": moment(st.born),
		"heard":     moment(time.Unix(0, st.heard.Load())),
		"sequence":  number(at),
		"newest":    number(l.newest),
		"lag_ms":    number(uint64(behind.Milliseconds())),
		"pushes":    number(st.seen.pushes.Load()),
		"bytes":     number(st.seen.bytes.Load()),
		"acks":      number(st.seen.acks.Load()),
		"nacks":     number(st.seen.nacks.Load()),
		"answers":   structpb.NewBoolValue(v != nil),
	}
	if since := st.seen.sending.Load(); since != 0 && v == nil {
		f["stuck_ms"] = number(uint64(now.Sub(time.Unix(0, since)).Milliseconds()))
	}
	if v == nil {
		return &structpb.Struct{Fields: f}
	}
	f["silent"] = structpb.NewBoolValue(v.mute)
	types := map[string]*structpb.Value{}
	for i := range v.types {
		types[v.types[i].url] = v.types[i].figures()
	}
	f["types"] = structpb.NewStructValue(&structpb.Struct{Fields: types})
	return &structpb.Struct{Fields: f}
}

func (t *typeView) figures() *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"wildcard": structpb.NewBoolValue(t.wildcard),
		"synced":   number(uint64(t.counts[isSynced] - t.absent)),
		"absent":   number(uint64(t.absent)),
		"stale":    number(uint64(t.counts[isSent])),
		"not_sent": number(uint64(t.counts[isDue])),
		"refused":  number(uint64(t.counts[isRefused])),
		"pushes":   number(t.traffic.pushes), "bytes": number(t.traffic.bytes),
		"acks": number(t.traffic.acks), "nacks": number(t.traffic.nacks),
	}})
}

func number(n uint64) *structpb.Value { return structpb.NewNumberValue(float64(n)) }

func moment(t time.Time) *structpb.Value {
	return structpb.NewStringValue(t.UTC().Format(time.RFC3339Nano))
}

// resource is how it stands with one resource at a client.
func (in *inspection) resource(url string, h *holding) *resourceStatus {
	r := in.content(url, h.name, h.has)
	switch h.condition {
	case isSynced:
		r.ConfigStatus = statusv3.ConfigStatus_SYNCED
	case isDue:
		r.ConfigStatus = statusv3.ConfigStatus_NOT_SENT
	case isSent:
		r.ConfigStatus = statusv3.ConfigStatus_STALE
	case isRefused:
		r.ConfigStatus = statusv3.ConfigStatus_ERROR
	}
	switch {
	case h.condition == isRefused:
		r.ClientStatus = adminv3.ClientResourceStatus_NACKED
		r.ErrorState = in.failure(h)
	case h.requested():
		r.ClientStatus = adminv3.ClientResourceStatus_REQUESTED
	case h.has == nil:
		r.ClientStatus = adminv3.ClientResourceStatus_DOES_NOT_EXIST
	default:
		r.ClientStatus = adminv3.ClientResourceStatus_ACKED
	}
	return r
}

func (in *inspection) content(url, name string, e *entry) *resourceStatus {
	r := &resourceStatus{TypeUrl: url, Name: name}
	if e == nil {
		return r
	}
	r.VersionInfo = e.Version
	if e.at != 0 {
		r.LastUpdated = timestamppb.New(time.Unix(0, e.at))
	}
	if in.inquiry.contents {
		r.XdsConfig = in.redactor.show(e)
	}
	return r
}

func (in *inspection) failure(h *holding) *adminv3.UpdateFailureState {
	state := &adminv3.UpdateFailureState{
		Details: h.text, VersionInfo: h.refused.content.Version, LastUpdateAttempt: timestamppb.New(h.refused.at),
	}
	if in.inquiry.contents {
		state.FailedConfiguration = in.redactor.show(h.refused.content)
	}
	return state
}

// desired tells what the store offers to the roles that were asked for.
func (in *inspection) desired() error {
	for _, role := range in.inquiry.desired {
		offers, seq := in.server.store.offered(role)
		fields := map[string]*structpb.Value{
			"role": structpb.NewStringValue(RoleName(role)), "desired": structpb.NewBoolValue(true),
			"sequence": number(seq), "newest": number(seq),
		}
		node := &corev3.Node{Id: DesiredPrefix + RoleName(role), Cluster: RoleName(role), Metadata: &structpb.Struct{
			Fields: map[string]*structpb.Value{StatusKey: structpb.NewStructValue(&structpb.Struct{Fields: fields})},
		}}
		p := &portion{inspection: in, node: node, scope: DesiredScope}
		if in.inquiry.counts {
			offers = nil
		}
		for _, o := range offers {
			r := in.content(o.Type, o.Name, o.entry)
			if o.why != "" {
				r.ErrorState = &adminv3.UpdateFailureState{Details: o.why, VersionInfo: o.refused}
			}
			if err := p.add(r); err != nil {
				return err
			}
		}
		if err := p.end(); err != nil {
			return err
		}
	}
	return nil
}

// offer is what a role may have under a name.
type offer struct {
	*entry
	refused, why string // the version that clients refuse now, if any, and what the first of them said
}

// offered is all that a role may have, in the order of kinds, and the state that it is of.
func (s *store) offered(role uint8) (offers []offer, seq uint64) {
	s.mu.Lock()
	for key, t := range s.tables {
		if key.role == role {
			for _, e := range t.entries {
				o := offer{entry: e}
				if r := t.refusals[e.Name]; r != nil {
					o.refused, o.why = r.version, r.text
				}
				offers = append(offers, o)
			}
		}
	}
	seq = s.seq
	s.mu.Unlock()
	slices.SortFunc(offers, func(a, b offer) int {
		_, i := kindOf(a.Type)
		_, j := kindOf(b.Type)
		return cmp.Or(i-j, cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return offers, seq
}
