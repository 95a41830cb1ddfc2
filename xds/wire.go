package xds

import (
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/xds/session"
)

// wire is a gRPC stream of either protocol.
type wire interface {
	receive() (*session.Request, error)
	send(session.Response) error
	protocol() session.Protocol
	// oneType is the type URL of a stream that is of one type; empty for the aggregated service.
	oneType() string
}

type deltaStream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

// deltaWire speaks the incremental protocol.
type deltaWire struct{ grpc deltaStream }

func (d deltaWire) receive() (*session.Request, error) {
	r, err := d.grpc.Recv()
	if err != nil {
		return nil, err
	}
	return &session.Request{
		Node: r.GetNode(), Type: r.GetTypeUrl(), Nonce: r.GetResponseNonce(), Error: r.GetErrorDetail(),
		Subscribe: r.GetResourceNamesSubscribe(), Unsubscribe: r.GetResourceNamesUnsubscribe(),
		Initial: r.GetInitialResourceVersions(),
	}, nil
}

func (d deltaWire) send(r session.Response) error { return d.grpc.SendMsg(encodeDelta(&r)) }

func (d deltaWire) protocol() session.Protocol { return session.Delta }

func (d deltaWire) oneType() string { return "" }

type sotwStream = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer

// sotwWire speaks the state-of-the-world protocol.
type sotwWire struct{ grpc sotwStream }

func (s sotwWire) receive() (*session.Request, error) {
	r, err := s.grpc.Recv()
	if err != nil {
		return nil, err
	}
	return &session.Request{
		Node: r.GetNode(), Type: r.GetTypeUrl(), Nonce: r.GetResponseNonce(), Error: r.GetErrorDetail(),
		Names: r.GetResourceNames(), Version: r.GetVersionInfo(),
	}, nil
}

func (s sotwWire) send(r session.Response) error { return s.grpc.SendMsg(encodeState(&r)) }

func (s sotwWire) protocol() session.Protocol { return session.StateOfTheWorld }

func (s sotwWire) oneType() string { return "" }
