package translator_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

// served is what the gateway's RouteConfigurations serve, by "config domain": the virtual host, but for its name.
func served(t *testing.T, o *translator.Output) map[string]string {
	t.Helper()
	all := map[string]string{}
	add := func(config string, vh *routev3.VirtualHost) {
		vh.Name = ""
		domains := vh.GetDomains()
		vh.Domains = nil
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(vh)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range domains {
			if _, twice := all[config+" "+d]; twice {
				t.Fatalf("%s has the domain %q twice", config, d)
			}
			all[config+" "+d] = string(body)
		}
	}
	for id, r := range contents(t, o) {
		switch {
		case id.roles != translator.RoleGateway:
		case id.typ == translator.RouteType:
			var config routev3.RouteConfiguration
			if err := proto.Unmarshal(r.Body, &config); err != nil {
				t.Fatal(err)
			}
			all[id.name] = fmt.Sprint(config.GetIgnorePortInHostMatching())
			for _, vh := range config.GetVirtualHosts() {
				add(id.name, vh)
			}
		case id.typ == translator.VirtualHostType:
			var vh routev3.VirtualHost
			if err := proto.Unmarshal(r.Body, &vh); err != nil {
				t.Fatal(err)
			}
			config, rest, _ := strings.Cut(id.name, "/")
			if strings.Contains(rest, "/") {
				t.Fatalf("Envoy would not find the RouteConfiguration of %q", id.name)
			}
			add(config, &vh)
		}
	}
	return all
}

func TestDiscoveredVirtualHostsServeWhatInlineOnesDo(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 6))
		w := &model.World{}
		for range 60 {
			w = change(r, w)
		}
		inline, discovered := *w, *w
		inline.Gateway.VirtualHosts, discovered.Gateway.VirtualHosts = model.Inline, model.Discovered
		want := served(t, translator.Translate(&inline, nil))
		if diff := cmp.Diff(want, served(t, translator.Translate(&discovered, nil))); diff != "" {
			t.Fatalf("seed %d (-inline +discovered):\n%s", seed, diff)
		}
	}
}

func TestChangeOfADiscoveredVirtualHostIsThatAlone(t *testing.T) {
	w := world(100)
	w.Gateway.VirtualHosts = model.Discovered
	before := translator.Translate(w, nil)
	set, removed := translator.Diff(before, translator.Translate(withTimeout(w, 7, time.Second), before))
	var got []string
	for _, r := range set {
		if r.Roles&translator.RoleGateway != 0 {
			got = append(got, r.Name)
		}
	}
	name := w.Routes[7].Key.Name
	if diff := cmp.Diff([]string{"http/default:" + name, "local/default:" + name}, got); diff != "" || len(removed) > 0 {
		t.Errorf("a gateway is sent (-want +got; removed %d):\n%s", len(removed), diff)
	}
}
