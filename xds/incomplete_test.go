package xds_test

import (
	"testing"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds"
)

func TestStatusSaysWhatTheFirstStateWaitsFor(t *testing.T) {
	r := serve(t, xds.Options{})
	ask := func() error {
		_, err := statusv3.NewClientStatusDiscoveryServiceClient(r.dial(t)).FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{})
		return err
	}
	r.Waiting("2 of 40 objects: Route default/a, Route default/b")
	want := "nothing is served yet, and gateways go on with what they had: waiting for 2 of 40 objects: Route default/a, Route default/b"
	if err := ask(); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	r.Waiting("")
	if err := ask(); err != nil {
		t.Errorf("got %v after the wait", err)
	}
	r.Waiting("more")
	r.set()
	if err := ask(); err != nil {
		t.Errorf("got %v after the first state", err)
	}
}
