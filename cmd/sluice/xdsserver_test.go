package main

import (
	"os"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/xds"
)

// greet says that a client is a gateway, and returns how that is answered.
func greet(t *testing.T, target string, options ...grpc.DialOption) error {
	t.Helper()
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := load_statsv3.NewLoadReportingServiceClient(conn).StreamLoadStats(t.Context())
	if err != nil {
		return err
	}
	if err := stream.Send(&load_statsv3.LoadStatsRequest{Node: &corev3.Node{Id: "gw", Cluster: "gateway"}}); err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func TestDoorsOfThisProcessNeedNoCertificate(t *testing.T) {
	ca := authority.New(t)
	files := ca.Issue("server", "127.0.0.1")
	flags := xdsServerFlags{address: "127.0.0.1:0", cert: files.Chain, key: files.Key, clientCA: ca.File, allow: []string{"gateway=gw.test"}}
	if err := flags.check(); err != nil {
		t.Fatal(err)
	}
	doors, err := flags.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := xds.New(xds.Options{Allow: doors.permits})
	s := newStages()
	doors.serve(s, server)
	defer func() {
		if err := s.stop(nil); err != nil {
			t.Error(err)
		}
	}()
	// Not t.TempDir: its paths are longer than a socket's may be.
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, err := doors.forEnvoy(s, dir, flags.address)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir + "/run"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder is %v, %v: others could enter it", info.Mode(), err)
	}
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	if err := greet(t, socket, plain); err != nil {
		t.Errorf("by the socket: %v", err)
	}
	if err := greet(t, insideTarget, doors.dial()...); err != nil {
		t.Errorf("inside: %v", err)
	}
	outside := doors.outside.Addr().String()
	if err := greet(t, outside, plain); status.Code(err) != codes.Unavailable {
		t.Errorf("from outside in plain text: %v", err)
	}
	for name, want := range map[string]codes.Code{"gw.test": codes.OK, "other.test": codes.PermissionDenied} {
		client := ca.Issue("client", name)
		secure, err := (&xdsFlags{ca: ca.File, cert: client.Chain, key: client.Key}).dialOption(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := greet(t, outside, secure); status.Code(err) != want {
			t.Errorf("from outside as %s: %v, want %v", name, err, want)
		}
	}
	if _, err := doors.forEnvoy(s, dir+"/"+strings.Repeat("x", 120), flags.address); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("a path that is too long: %v", err)
	}
}
