package resource

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
)

func TestAddressIsOneThatCanBeConnectedTo(t *testing.T) {
	node := func(address any) *corev3.Node {
		metadata, err := structpb.NewStruct(map[string]any{contract.MetadataKey: map[string]any{contract.AddressField: address}})
		if err != nil {
			t.Fatal(err)
		}
		return &corev3.Node{Metadata: metadata}
	}
	for address, want := range map[any]string{
		"127.0.0.1:8012": "127.0.0.1:8012", "[::1]:80": "[::1]:80", "[::ffff:127.0.0.1]:80": "127.0.0.1:80",
		"": "", "127.0.0.1": "", "127.0.0.1:0": "", "0.0.0.0:80": "", "localhost:80": "", "[fe80::1%eth0]:80": "", "127.0.0.1:99999": "",
		80.0: "", true: "",
	} {
		if got := NodeOf(node(address)).Address; got != want {
			t.Errorf("%v: %q, want %q", address, got, want)
		}
	}
	if got := NodeOf(nil).Address; got != "" {
		t.Errorf("no node: %q", got)
	}
}
