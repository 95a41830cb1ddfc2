package translator

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// activatorAssignment is the assignment of a revision for its activators: only the replicas, in one locality. The locality exists even
// without replicas, because it carries the limits of the revision, its failure, and the activators that share it.
func activatorAssignment(in *model.Backend, pods, activators []model.Endpoint) *endpointv3.ClusterLoadAssignment {
	name := in.Revision.String()
	locality := &endpointv3.LocalityLbEndpoints{
		Locality:            &corev3.Locality{Zone: contract.ZonePods},
		LoadBalancingWeight: wrapperspb.UInt32(1),
		LbEndpoints:         lbEndpoints(pods),
	}
	if fields := activatorFields(in, activators); len(fields) > 0 {
		locality.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{contract.MetadataKey: {Fields: fields}}}
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{locality}}
}

func activatorFields(in *model.Backend, activators []model.Endpoint) map[string]*structpb.Value {
	fields := map[string]*structpb.Value{}
	if in.Via == model.ViaActivator {
		fields[contract.FieldBehind] = structpb.NewBoolValue(true)
	}
	if in.Direct {
		fields[contract.FieldDirect] = structpb.NewBoolValue(true)
	}
	if in.Concurrency > 0 {
		fields[contract.FieldConcurrency] = structpb.NewNumberValue(float64(in.Concurrency))
	}
	if in.Tasks {
		fields[contract.FieldTasks] = structpb.NewBoolValue(true)
		if len(activators) > 0 {
			fields[contract.FieldOwner] = structpb.NewStringValue(hostPort(ranked(in.Revision.String(), activators)[0]))
		}
		if in.MaxWaiting > 0 {
			fields[contract.FieldMaxWaiting] = structpb.NewNumberValue(float64(in.MaxWaiting))
		}
	}
	if in.Timeout > 0 {
		fields[contract.FieldTimeout] = structpb.NewNumberValue(in.Timeout.Seconds())
	}
	if len(activators) > 0 {
		list := &structpb.ListValue{}
		for _, a := range activators {
			list.Values = append(list.Values, structpb.NewStringValue(hostPort(a)))
		}
		fields[contract.FieldActivators] = structpb.NewListValue(list)
	}
	if f := in.Failure; f != nil {
		fields[contract.FieldFailure] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			contract.FieldFailureReason:  structpb.NewStringValue(printable(f.Reason)),
			contract.FieldFailureMessage: structpb.NewStringValue(printable(f.Message)),
		}})
	}
	if s := in.Start; !s.Ready.IsZero() {
		fields[contract.FieldStart] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			contract.FieldStartAsked: timestamp(s.Asked), contract.FieldStartStarted: timestamp(s.Started),
			contract.FieldStartReady: timestamp(s.Ready),
		}})
	}
	return fields
}

// hostPort is a valid endpoint as one text, with an IPv6 address in brackets.
func hostPort(e model.Endpoint) string {
	address, _ := netip.ParseAddr(e.Host)
	return netip.AddrPortFrom(address, uint16(e.Port)).String()
}

// timestamp is a time in Unix nanoseconds, as a text: a number of JSON has too few digits.
func timestamp(t time.Time) *structpb.Value {
	return structpb.NewStringValue(strconv.FormatInt(t.UnixNano(), 10))
}

// printable makes a text valid UTF-8: what an application wrote need not be.
func printable(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
