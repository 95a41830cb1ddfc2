package session

import (
	"testing"

	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

func TestOtherNacksOfAListenerAreNotAboutItsAddress(t *testing.T) {
	w := &watch{url: resource.ListenerType}
	for text, want := range map[string]bool{
		"Error adding/updating listener(s) http: cannot bind '127.0.0.1:80': Permission denied": true,
		"http: no such filter": false,
		"local: cannot bind '127.0.0.1:8081': Address already in use\nhttp: no such filter": false,
		"listener \"http\": listen tcp 127.0.0.1:1: bind: cannot assign requested address":  true,
	} {
		if got := isUnbound(w, offer.NewEntry(made(resource.ListenerType, "http", "1")), text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}
