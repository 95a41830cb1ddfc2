package queueproxy_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// tell sends a message about the end of streams, and returns the status of the answer.
func tell(p *queueproxy.Proxy, d contract.StreamDeadline, proof string) int {
	r := httptest.NewRequest(http.MethodPut, contract.StreamDeadlinePath+"?"+d.Query(), nil)
	r.Header.Set(contract.ProofHeader, proof)
	w := httptest.NewRecorder()
	p.StreamDeadline().ServeHTTP(w, r)
	return w.Code
}

func TestStreamsEndWhenTheControllerSaysSo(t *testing.T) {
	signer := contract.NewSigner("secret")
	p, address := serve(t, queueproxy.Options{
		Target: application(t, http.HandlerFunc(echoWebSocket)), ActivatorKey: signer.Key(),
		Revision: model.Key{Namespace: "default", Name: "hello-00001"}, Pod: "hello-00001-x",
	})
	stream := openWebSocket(t, address)
	message := func(at time.Time, signed int64) contract.StreamDeadline {
		return contract.StreamDeadline{
			Namespace: "default", Revision: "hello-00001", Pod: "hello-00001-x", At: at, Signed: time.Unix(signed, 0),
		}
	}
	send := func(d contract.StreamDeadline, want int) {
		t.Helper()
		if got := tell(p, d, d.Prove(signer)); got != want {
			t.Errorf("%+v: got %d, want %d", d, got, want)
		}
	}
	past := time.Unix(1, 0)
	other := message(past, 9)
	other.Pod = "hello-00001-y"
	send(other, http.StatusForbidden)
	if got := tell(p, message(past, 9), message(past, 9).Prove(contract.NewSigner("other"))); got != http.StatusForbidden {
		t.Errorf("another installation's message: got %d", got)
	}
	send(message(time.Now().Add(time.Hour), 5), http.StatusOK)
	send(message(time.Time{}, 6), http.StatusOK)
	send(message(past, 5), http.StatusConflict) // an old message again
	if err := stream.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := stream.Read(t.Context()); err != nil || string(got) != "hello" {
		t.Fatalf("a stream that may go on: %q, %v", got, err)
	}
	send(message(past, 7), http.StatusOK)
	if _, _, err := stream.Read(t.Context()); err == nil {
		t.Error("the stream was not cut")
	}
	later := openWebSocket(t, address)
	send(message(past, 8), http.StatusOK) // the same end again, such as from a new leader
	if err := later.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := later.Read(t.Context()); err != nil || string(got) != "hello" {
		t.Errorf("a stream that came afterwards: %q, %v", got, err)
	}
}

func TestWithoutAKeyNobodySetsTheEndOfStreams(t *testing.T) {
	p, _ := serve(t, queueproxy.Options{Target: application(t, http.NotFoundHandler())})
	d := contract.StreamDeadline{At: time.Unix(1, 0), Signed: time.Unix(1, 0)}
	if got := tell(p, d, ""); got != http.StatusForbidden {
		t.Errorf("got %d, want 403", got)
	}
}

// TestClockOfTheControllerMayBeApart has a controller whose clock is an hour off: ahead, streams would end an hour late, behind, at once.
func TestClockOfTheControllerMayBeApart(t *testing.T) {
	signer := contract.NewSigner("secret")
	for name, apart := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			p, address := serve(t, queueproxy.Options{
				Target: application(t, http.HandlerFunc(echoWebSocket)), ActivatorKey: signer.Key(),
				Revision: model.Key{Namespace: "default", Name: "hello-00001"}, Pod: "hello-00001-x",
			})
			stream := openWebSocket(t, address)
			now := time.Now().Add(apart)
			d := contract.StreamDeadline{
				Namespace: "default", Revision: "hello-00001", Pod: "hello-00001-x", Signed: now, At: now.Add(time.Minute),
			}
			if got := tell(p, d, d.Prove(signer)); got != http.StatusOK {
				t.Fatalf("got %d", got)
			}
			if err := stream.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, got, err := stream.Read(t.Context()); err != nil || string(got) != "hello" {
				t.Fatalf("a stream that has a minute left: %q, %v", got, err)
			}
			d.Signed, d.At = now.Add(time.Second), now.Add(time.Second+time.Millisecond)
			if got := tell(p, d, d.Prove(signer)); got != http.StatusOK {
				t.Fatalf("got %d", got)
			}
			if _, _, err := stream.Read(t.Context()); err == nil {
				t.Error("the stream was not cut")
			}
		})
	}
}
