package xds

import (
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

func TestListenerThatCannotBeBoundIsSentAgainWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{})
		defer server.Close()
		set := func(version string) {
			server.Apply(resource.Update{
				Set: []*resource.Resource{{Type: resource.ListenerType, Name: "http", Version: version, Roles: contract.RoleGateway}},
			})
		}
		set("1")
		p := connectFake(t, server, resource.ListenerType)
		defer p.exit()
		time.Sleep(server.options.Settle) // it may have clusters to subscribe to
		for _, pause := range []time.Duration{0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000} {
			if pause > 0 {
				time.Sleep(pause*time.Millisecond - time.Millisecond)
				synctest.Wait()
				if len(p.got) > 0 {
					t.Fatalf("it is sent again before %v have passed", pause*time.Millisecond)
				}
				time.Sleep(time.Millisecond)
			}
			p.answer(t, "1", "listener \"http\": listen tcp 127.0.0.1:8080: bind: address already in use")
		}
		set("2") // other content is sent at once, and its back-off begins again
		p.answer(t, "2", "http: cannot bind")
		time.Sleep(500 * time.Millisecond)
		p.answer(t, "2", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(p.got) > 0 {
			t.Error("it is sent again though it was taken")
		}
	})
}
