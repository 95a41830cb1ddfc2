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
)

// assignment is a decoded ClusterLoadAssignment in the form that activators get: one locality, of the zone contract.ZonePods, with the
// queue-proxies of a revision, and what else activators need to know in its metadata under contract.MetadataKey. It is immutable.
type assignment struct {
	endpoints   []string // host:port of those that take requests, sorted
	concurrency int      // requests per replica at a time; 0 is no limit
	timeout     time.Duration
	activators  []string // host:port of those that stand for the revision, sorted
	failure     *failure // nil while nothing is wrong
	behind      bool     // requests are to come by activators, also while there are endpoints
	direct      bool     // the endpoints are applications, without a queue-proxy before them
	start       origin
}

// origin are the moments in which the first replica after zero came about; zero where unknown.
type origin struct{ asked, started, ready time.Time }

const (
	maxConcurrency = 1_000_000
	maxTimeout     = 365 * 24 * time.Hour
)

func decodeAssignment(name string, body []byte) (*assignment, error) {
	m := &endpointv3.ClusterLoadAssignment{}
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	if m.GetClusterName() != name {
		return nil, fmt.Errorf("cluster_name is %q; it must be the name of the resource", m.GetClusterName())
	}
	a := &assignment{}
	for i, group := range m.GetEndpoints() {
		if err := a.add(group); err != nil {
			return nil, fmt.Errorf("endpoints[%d].%w", i, err)
		}
	}
	slices.Sort(a.endpoints)
	a.endpoints = slices.Compact(a.endpoints)
	return a, nil
}

func (a *assignment) add(group *endpointv3.LocalityLbEndpoints) error {
	if zone := group.GetLocality().GetZone(); zone != contract.ZonePods {
		return fmt.Errorf("locality.zone is %q; activators take %q alone, for a request must not come to an activator twice", zone, contract.ZonePods)
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
		a.endpoints = append(a.endpoints, address)
	}
	fields := group.GetMetadata().GetFilterMetadata()[contract.MetadataKey].GetFields()
	for _, part := range []struct {
		name   string
		decode func(*structpb.Value) error
	}{
		{contract.FieldConcurrency, a.setConcurrency}, {contract.FieldTimeout, a.setTimeout}, {contract.FieldActivators, a.setActivators},
		{contract.FieldFailure, a.setFailure}, {contract.FieldStart, a.setStart}, {contract.FieldBehind, flag(&a.behind)}, {contract.FieldDirect, flag(&a.direct)},
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

// hostPort is the address of an endpoint, which must be an IP address: names are resolved by no one here.
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

func (a *assignment) setConcurrency(v *structpb.Value) error {
	n, err := number(v)
	if err != nil || n != math.Trunc(n) || n > maxConcurrency {
		return cmp.Or(err, fmt.Errorf("is %v; it must be a whole number up to %d", n, maxConcurrency))
	}
	a.concurrency = int(n)
	return nil
}

func (a *assignment) setTimeout(v *structpb.Value) error {
	n, err := number(v)
	if err != nil || n > maxTimeout.Seconds() {
		return cmp.Or(err, fmt.Errorf("is %v; it must be at most %v seconds", n, maxTimeout.Seconds()))
	}
	a.timeout = time.Duration(n * float64(time.Second))
	return nil
}

func (a *assignment) setActivators(v *structpb.Value) error {
	for i, item := range v.GetListValue().GetValues() {
		address := item.GetStringValue()
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("[%d] is %q; it must be host:port", i, address)
		}
		a.activators = append(a.activators, address)
	}
	if _, ok := v.GetKind().(*structpb.Value_ListValue); !ok {
		return errors.New("must be a list")
	}
	slices.Sort(a.activators)
	return nil
}

func (a *assignment) setFailure(v *structpb.Value) error {
	fields := v.GetStructValue().GetFields()
	f := failure{reason: fields[contract.FieldFailureReason].GetStringValue(), message: fields[contract.FieldFailureMessage].GetStringValue()}
	if f.reason == "" {
		return errors.New("must be an object with a reason and a message")
	}
	a.failure = &f
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

func (a *assignment) setStart(v *structpb.Value) error {
	fields := v.GetStructValue().GetFields()
	if fields == nil {
		return errors.New("must be an object")
	}
	for name, to := range map[string]*time.Time{contract.FieldStartAsked: &a.start.asked, contract.FieldStartStarted: &a.start.started, contract.FieldStartReady: &a.start.ready} {
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

// index is an activator's position among those of the assignment, -1 if it is not among them.
func (a *assignment) index(address string) int { return slices.Index(a.activators, address) }
