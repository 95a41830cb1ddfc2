package xds

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestListenerThatCannotBeBoundIsSentAgainLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{})
		defer server.Close()
		set := func(version string) {
			server.Apply(Update{Set: []*Resource{{Type: ListenerType, Name: "http", Version: version, Roles: RoleGateway}}})
		}
		set("1")
		p := perform(t, server, ListenerType)
		defer p.exit()
		time.Sleep(server.options.Settle) // it may have clusters to ask for
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
		set("2") // other content waits for nothing, and begins anew
		p.answer(t, "2", "http: cannot bind")
		time.Sleep(firstRebind)
		p.answer(t, "2", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(p.got) > 0 {
			t.Error("it is sent again though it was taken")
		}
	})
}

func TestOtherRefusalsOfAListenerAreNoMatterOfItsAddress(t *testing.T) {
	w := &watch{url: ListenerType}
	for text, want := range map[string]bool{
		"Error adding/updating listener(s) http: cannot bind '127.0.0.1:80': Permission denied": true,
		"http: no such filter": false,
		"local: cannot bind '127.0.0.1:8081': Address already in use\nhttp: no such filter": false,
		"listener \"http\": listen tcp 127.0.0.1:1: bind: cannot assign requested address":  true,
	} {
		if got := isUnbound(w, &entry{Resource: &Resource{Name: "http"}}, text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}
