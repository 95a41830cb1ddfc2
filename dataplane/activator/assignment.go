package activator

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
)

const (
	maxConcurrency = 1_000_000
	maxWaiting     = 1_000_000
	maxTimeout     = 365 * 24 * time.Hour
)

// decodeAssignment reads a ClusterLoadAssignment in the form that activators get: one locality, of the zone contract.ZonePods, with the
// queue-proxies of a revision, and in its metadata under contract.MetadataKey what else activators need to know.
func decodeAssignment(name string, body []byte) (*dispatch.Assignment, error) {
	m := &endpointv3.ClusterLoadAssignment{}
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	if m.GetClusterName() != name {
		return nil, fmt.Errorf("cluster_name is %q; it must be the name of the resource", m.GetClusterName())
	}
	a := &decoded{}
	for i, group := range m.GetEndpoints() {
		if err := a.add(group); err != nil {
			return nil, fmt.Errorf("endpoints[%d].%w", i, err)
		}
	}
	slices.Sort(a.Endpoints)
	a.Endpoints = slices.Compact(a.Endpoints)
	return &a.Assignment, nil
}

// decoded is an Assignment that is being filled.
type decoded struct{ dispatch.Assignment }

func (a *decoded) add(group *endpointv3.LocalityLbEndpoints) error {
	if zone := group.GetLocality().GetZone(); zone != contract.ZonePods {
		return fmt.Errorf("locality.zone is %q; activators accept only %q, since a request must not pass two activators",
			zone, contract.ZonePods)
	}
	for i, e := range group.GetLbEndpoints() {
		switch e.GetHealthStatus() {
		case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT:
			continue
		}
		address, err := hostPort(e.GetEndpoint().GetAddress().GetSocketAddress())
		if err != nil {
			return fmt.Errorf("lb_endpoints[%d]: %w", i, err)
		}
		a.Endpoints = append(a.Endpoints, address)
	}
	fields := group.GetMetadata().GetFilterMetadata()[contract.MetadataKey].GetFields()
	for _, part := range []struct {
		name   string
		decode func(*structpb.Value) error
	}{
		{contract.FieldConcurrency, a.setConcurrency}, {contract.FieldTimeout, a.setTimeout}, {contract.FieldActivators, a.setActivators},
		{contract.FieldFailure, a.setFailure}, {contract.FieldStart, a.setStart},
		{contract.FieldBehind, flag(&a.Behind)}, {contract.FieldDirect, flag(&a.Direct)}, {contract.FieldTasks, flag(&a.Tasks)},
		{contract.FieldOwner, a.setOwner}, {contract.FieldMaxWaiting, a.setMaxWaiting},
	} {
		v := fields[part.name]
		if v == nil {
			continue
		}
		if err := part.decode(v); err != nil {
			return fmt.Errorf("metadata[%q].%s: %w", contract.MetadataKey, part.name, err)
		}
	}
	return nil
}

// hostPort is the address of an endpoint, which must be an IP address: nothing here resolves names.
func hostPort(s *corev3.SocketAddress) (string, error) {
	port, ok := s.GetPortSpecifier().(*corev3.SocketAddress_PortValue)
	if net.ParseIP(s.GetAddress()) == nil || !ok || port.PortValue == 0 || port.PortValue > math.MaxUint16 {
		return "", fmt.Errorf("address %q must be an IP address with a port_value", s.GetAddress())
	}
	return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(port.PortValue), 10)), nil
}

func number(v *structpb.Value) (float64, error) {
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	if !ok || math.IsNaN(n.NumberValue) || n.NumberValue < 0 {
		return 0, errors.New("must be a number that is not negative")
	}
	return n.NumberValue, nil
}

func (a *decoded) setConcurrency(v *structpb.Value) error {
	n, err := number(v)
	if err != nil || n != math.Trunc(n) || n > maxConcurrency {
		return cmp.Or(err, fmt.Errorf("is %v; it must be a whole number up to %d", n, maxConcurrency))
	}
	a.Concurrency = int(n)
	return nil
}

func (a *decoded) setTimeout(v *structpb.Value) error {
	n, err := number(v)
	if err != nil || n > maxTimeout.Seconds() {
		return cmp.Or(err, fmt.Errorf("is %v; it must be at most %v seconds", n, maxTimeout.Seconds()))
	}
	a.Timeout = time.Duration(n * float64(time.Second))
	return nil
}

func (a *decoded) setActivators(v *structpb.Value) error {
	for i, item := range v.GetListValue().GetValues() {
		address := item.GetStringValue()
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("[%d] is %q; it must be host:port", i, address)
		}
		a.Activators = append(a.Activators, address)
	}
	if _, ok := v.GetKind().(*structpb.Value_ListValue); !ok {
		return errors.New("must be a list")
	}
	slices.Sort(a.Activators)
	return nil
}

func (a *decoded) setOwner(v *structpb.Value) error {
	a.Owner = v.GetStringValue()
	if _, _, err := net.SplitHostPort(a.Owner); err != nil {
		return fmt.Errorf("is %q; it must be host:port", a.Owner)
	}
	return nil
}

func (a *decoded) setMaxWaiting(v *structpb.Value) error {
	n, err := number(v)
	if err != nil || n != math.Trunc(n) || n > maxWaiting {
		return cmp.Or(err, fmt.Errorf("is %v; it must be a whole number up to %d", n, maxWaiting))
	}
	a.MaxWaiting = int(n)
	return nil
}

func (a *decoded) setFailure(v *structpb.Value) error {
	fields := v.GetStructValue().GetFields()
	f := dispatch.Failure{
		Reason:  fields[contract.FieldFailureReason].GetStringValue(),
		Message: fields[contract.FieldFailureMessage].GetStringValue(),
	}
	if f.Reason == "" {
		return errors.New("must be an object with a reason and a message")
	}
	a.Failure = &f
	return nil
}

func flag(to *bool) func(*structpb.Value) error {
	return func(v *structpb.Value) error {
		if _, ok := v.GetKind().(*structpb.Value_BoolValue); !ok {
			return errors.New("must be true or false")
		}
		*to = v.GetBoolValue()
		return nil
	}
}

func (a *decoded) setStart(v *structpb.Value) error {
	fields := v.GetStructValue().GetFields()
	if fields == nil {
		return errors.New("must be an object")
	}
	for name, to := range map[string]*time.Time{
		contract.FieldStartAsked: &a.Start.Asked, contract.FieldStartStarted: &a.Start.Started, contract.FieldStartReady: &a.Start.Ready,
	} {
		text := fields[name].GetStringValue()
		if text == "" {
			continue
		}
		ns, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%s is %q; it must be unix nanoseconds", name, text)
		}
		if ns > 0 {
			*to = time.Unix(0, ns)
		}
	}
	return nil
}
