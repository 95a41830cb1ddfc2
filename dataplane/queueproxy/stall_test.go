package queueproxy_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

var errNoAnswer = errors.New("no answer within a minute")

// stalled sends the beginning of a body, and no more of it until its end.
func stalled(t *testing.T, c *http.Client, address string) (answer, http.Header) {
	t.Helper()
	body, end := io.Pipe()
	defer end.Close()
	// The client's Timeout does not end a request whose body stalls: net/http waits for the reading of the body.
	defer time.AfterFunc(time.Minute, func() { end.CloseWithError(errNoAnswer) }).Stop()
	go func() { _, _ = io.WriteString(end, "abc") }() // it is over when the test is
	response, err := c.Post("http://"+address, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{response.StatusCode, response.Header.Get(contract.ReasonHeader), strings.TrimSpace(string(text))}, response.Header
}

// TestAnApplicationThatEndsInAnUpload: its client, which sends no more, is answered.
func TestAnApplicationThatEndsInAnUpload(t *testing.T) {
	for _, app := range []model.Protocol{model.HTTP1, model.H2C} {
		for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
			t.Run(fmt.Sprint(protocol, " to ", app), func(t *testing.T) {
				began := make(chan struct{})
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.ReadFull(r.Body, make([]byte, 3))
					close(began)
					_, _ = io.ReadFull(r.Body, make([]byte, 1)) // ends with the connection
					panic(http.ErrAbortHandler)
				}))
				server.Config.Protocols = new(http.Protocols)
				server.Config.Protocols.SetHTTP1(true)
				server.Config.Protocols.SetUnencryptedHTTP2(true)
				server.Start()
				defer server.Close()
				go func() {
					<-began
					server.CloseClientConnections()
				}()
				p, address := serve(t, queueproxy.Options{Target: server.Listener.Addr().String(), Protocol: app})
				got, _ := stalled(t, client(t, protocol), address)
				if diff := cmp.Diff(answer{502, contract.ReasonUnreachable, "the application did not answer"}, got); diff != "" {
					t.Error(diff)
				}
				eventually(t, "the request is over", func() bool { return p.Load().InFlight == 0 })
			})
		}
	}
}

// TestAnEarlyAnswerEndsTheRequest of a client that does not send its body on, in each pair of protocols, with no header of ours.
func TestAnEarlyAnswerEndsTheRequest(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // or net/http would read the body first
		w.Header()["Content-Type"], w.Header()["Date"] = nil, nil
		w.Header().Set("Content-Length", "6")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "<html>")
		_ = http.NewResponseController(w).Flush()
		if r.ProtoMajor == 1 { // where an answer may be complete before its server is done with the request
			_, _ = io.Copy(io.Discard, r.Body) // ends with the connection
		}
	}))
	for _, app := range []model.Protocol{model.HTTP1, model.H2C} {
		for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
			t.Run(fmt.Sprint(protocol, " to ", app), func(t *testing.T) {
				p, address := serve(t, queueproxy.Options{Target: target, Protocol: app})
				got, headers := stalled(t, client(t, protocol), address)
				if diff := cmp.Diff(answer{413, "", "<html>"}, got); diff != "" {
					t.Error(diff)
				}
				for name := range headers {
					if name != "Content-Length" && name != "Date" && name != "Connection" {
						t.Errorf("the answer has %s: %q", name, headers[name])
					}
				}
				eventually(t, "the request is over", func() bool { return p.Load().InFlight == 0 })
			})
		}
	}
}

// TestAnEarlyAnswerIsWhole whatever its client sends meanwhile, and although the end of the answer arrives when the transport to the
// application has given up the body of the request.
func TestAnEarlyAnswerIsWhole(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			rest := make(chan struct{})
			target := application(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				_ = http.NewResponseController(w).Flush()
				<-rest
				_, _ = io.WriteString(w, "<html>")
			}))
			p, address := serve(t, queueproxy.Options{Target: target, Protocol: model.H2C})
			body, end := io.Pipe()
			defer end.Close()
			defer time.AfterFunc(time.Minute, func() { end.CloseWithError(errNoAnswer) }).Stop()
			go func() { _, _ = io.WriteString(end, "abc") }() // it is over when the test is
			response, err := client(t, protocol).Post("http://"+address, "", body)
			if err != nil {
				close(rest)
				t.Fatal(err)
			}
			defer response.Body.Close()
			// By now the transport has closed the body of the request, or will: the answer must be whole in both cases.
			time.Sleep(10 * time.Millisecond)
			close(rest)
			text, err := io.ReadAll(response.Body)
			if err != nil || string(text) != "<html>" {
				t.Errorf("got %q, %v", text, err)
			}
			eventually(t, "the request is over", func() bool { return p.Load().InFlight == 0 })
		})
	}
}
