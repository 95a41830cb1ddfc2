package csds

import (
	"fmt"
	"maps"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/session"
)

type resourceStatus = statusv3.ClientConfig_GenericXdsConfig

// portion passes on the resources of one client, in as many configurations as it takes.
type portion struct {
	inspection *inspection
	node       *corev3.Node
	scope      string
	config     *statusv3.ClientConfig
	size       int // bytes of config
	passed     int // configurations so far
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
	p.passed++
	return p.inspection.emit(config)
}

// end passes on what is left. A client without resources has one configuration too.
func (p *portion) end() error {
	if p.config == nil && p.passed > 0 {
		return nil
	}
	if p.config == nil {
		p.config = &statusv3.ClientConfig{Node: p.node, ClientScope: p.scope}
	}
	return p.flush()
}

// client answers for one client; without a view, what is known without asking the owner of its stream.
func (in *inspection) client(c Client, v *session.View) error {
	facts, id := c.Facts(), c.Identity()
	node := &corev3.Node{}
	proto.Merge(node, facts.Node)
	fields := maps.Clone(node.GetMetadata().GetFields())
	if fields == nil {
		fields = map[string]*structpb.Value{}
	}
	fields[StatusKey] = structpb.NewStructValue(figures(id, &facts, v, time.Now()))
	node.Metadata = &structpb.Struct{Fields: fields}
	p := &portion{inspection: in, node: node, scope: fmt.Sprintf("stream %d", id.Stream)}
	if v != nil {
		for _, t := range v.Types {
			for i := range t.Holdings {
				if err := p.add(in.resource(t.URL, &t.Holdings[i])); err != nil {
					return err
				}
			}
		}
	}
	return p.end()
}

// figures are the figures of a client as a whole.
func figures(id Identity, facts *Facts, v *session.View, now time.Time) *structpb.Struct {
	l := facts.Lag
	if v != nil {
		l = v.Lag
	}
	at, behind := l.Newest, time.Duration(0)
	if l.Behind != 0 {
		at, behind = l.Behind-1, max(now.Sub(l.Since), time.Millisecond)
	}
	f := map[string]*structpb.Value{
		"stream":    number(id.Stream),
		"role":      structpb.NewStringValue(contract.RoleName(id.Role)),
		"protocol":  structpb.NewStringValue(facts.Protocol),
		"service":   structpb.NewStringValue(facts.Service),
		"connected": moment(facts.Connected),
		"heard":     moment(facts.Heard),
		"sequence":  number(at),
		"newest":    number(l.Newest),
		"lag_ms":    number(uint64(behind.Milliseconds())),
		"pushes":    number(facts.Traffic.Pushes),
		"bytes":     number(facts.Traffic.Bytes),
		"acks":      number(facts.Traffic.Acks),
		"nacks":     number(facts.Traffic.Nacks),
		"answers":   structpb.NewBoolValue(v != nil),
	}
	if v == nil {
		if since := facts.Sending; !since.IsZero() {
			f["stuck_ms"] = number(uint64(now.Sub(since).Milliseconds()))
		}
		return &structpb.Struct{Fields: f}
	}
	f["silent"] = structpb.NewBoolValue(v.Silent)
	types := map[string]*structpb.Value{}
	for i := range v.Types {
		types[v.Types[i].URL] = typeFigures(&v.Types[i])
	}
	f["types"] = structpb.NewStructValue(&structpb.Struct{Fields: types})
	return &structpb.Struct{Fields: f}
}

func typeFigures(t *session.TypeView) *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"wildcard": structpb.NewBoolValue(t.Wildcard),
		"synced":   number(uint64(t.Counts[session.Synced] - t.Absent)),
		"absent":   number(uint64(t.Absent)),
		"stale":    number(uint64(t.Counts[session.Sent])),
		"not_sent": number(uint64(t.Counts[session.Pending])),
		"rejected": number(uint64(t.Counts[session.Nacked])),
		"pushes":   number(t.Traffic.Pushes), "bytes": number(t.Traffic.Bytes),
		"acks": number(t.Traffic.Acks), "nacks": number(t.Traffic.Nacks),
	}})
}

func number(n uint64) *structpb.Value { return structpb.NewNumberValue(float64(n)) }

func moment(t time.Time) *structpb.Value {
	return structpb.NewStringValue(t.UTC().Format(time.RFC3339Nano))
}

// resource is the state of one resource at a client.
func (in *inspection) resource(url string, h *session.Holding) *resourceStatus {
	r := in.content(url, h.Name, h.Has)
	switch h.Condition {
	case session.Synced:
		r.ConfigStatus = statusv3.ConfigStatus_SYNCED
	case session.Pending:
		r.ConfigStatus = statusv3.ConfigStatus_NOT_SENT
	case session.Sent:
		r.ConfigStatus = statusv3.ConfigStatus_STALE
	case session.Nacked:
		r.ConfigStatus = statusv3.ConfigStatus_ERROR
	}
	switch {
	case h.Condition == session.Nacked:
		r.ClientStatus = adminv3.ClientResourceStatus_NACKED
		r.ErrorState = in.failure(h)
	case h.Requested():
		r.ClientStatus = adminv3.ClientResourceStatus_REQUESTED
	case h.Has == nil:
		r.ClientStatus = adminv3.ClientResourceStatus_DOES_NOT_EXIST
	default:
		r.ClientStatus = adminv3.ClientResourceStatus_ACKED
	}
	return r
}

func (in *inspection) content(url, name string, e *offer.Entry) *resourceStatus {
	r := &resourceStatus{TypeUrl: url, Name: name}
	if e == nil {
		return r
	}
	r.VersionInfo = e.Version
	if came := e.Time(); !came.IsZero() {
		r.LastUpdated = timestamppb.New(came)
	}
	if in.inquiry.contents {
		r.XdsConfig = in.redactor.show(e)
	}
	return r
}

func (in *inspection) failure(h *session.Holding) *adminv3.UpdateFailureState {
	nacked := h.Rejection.Content
	state := &adminv3.UpdateFailureState{
		Details: h.Text, VersionInfo: nacked.Version, LastUpdateAttempt: timestamppb.New(h.Rejection.At),
	}
	if in.inquiry.contents {
		state.FailedConfiguration = in.redactor.show(nacked)
	}
	return state
}

// desired answers what the roles that were asked for are offered.
func (in *inspection) desired() error {
	for _, role := range in.inquiry.desired {
		offers, seq := in.source.Offered(role)
		fields := map[string]*structpb.Value{
			"role": structpb.NewStringValue(contract.RoleName(role)), "desired": structpb.NewBoolValue(true),
			"sequence": number(seq), "newest": number(seq),
		}
		node := &corev3.Node{Id: DesiredPrefix + contract.RoleName(role), Cluster: contract.RoleName(role), Metadata: &structpb.Struct{
			Fields: map[string]*structpb.Value{StatusKey: structpb.NewStructValue(&structpb.Struct{Fields: fields})},
		}}
		p := &portion{inspection: in, node: node, scope: DesiredScope}
		if in.inquiry.counts {
			offers = nil
		}
		for _, o := range offers {
			r := in.content(o.Type, o.Name, o.Entry)
			if o.NackText != "" {
				r.ErrorState = &adminv3.UpdateFailureState{Details: o.NackText, VersionInfo: o.NackedVersion}
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
