package feature

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// sentTo is a transport that names a host to a gateway, and keeps the last answer.
type sentTo struct {
	host     string
	location string
}

// RoundTrip is part of http.RoundTripper.
func (s *sentTo) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = s.host
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		s.location = response.Header.Get("Location")
	}
	return response, err
}

// event posts a body to a host, and returns the answer.
func (s *instance) event(host, contentType, body string, header ...string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.gateway+"/?ms=1&id=0", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	return s.exchange(request, host, header...)
}

// TestCloudEvents sends asynchronous events in each mode, one event in two of them, and some that are refused.
func TestCloudEvents(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		service, journal := newTasks(t, "work", 2)
		s.create(service)
		s.ready("work")
		const host = "work.default.localhost"
		binary := s.bySDK(host, cloudevents.WithEncodingBinary, "a b", 1)
		structured := s.bySDK(host, cloudevents.WithEncodingStructured, "other", 2)
		if again := s.bySDK(host, cloudevents.WithEncodingStructured, "a b", 3); again != binary || structured == binary {
			t.Errorf("one event in two modes is %s and %s, another one %s", binary, again, structured)
		}
		const event = `{"specversion":"1.0","id":%q,"source":"/shop","type":"order","data":{"n":1}}`
		response, body := s.event(host, "application/cloudevents-batch+json",
			"["+fmt.Sprintf(event, "b1")+","+fmt.Sprintf(event, "b2")+","+fmt.Sprintf(event, "other")+"]", "Prefer", "respond-async")
		var answers []struct {
			Status   int
			Location string
		}
		if err := json.Unmarshal([]byte(body), &answers); err != nil || response.StatusCode != http.StatusAccepted || len(answers) != 3 {
			t.Fatalf("the batch is answered %s: %s", response.Status, body)
		}
		if answers[0].Location == answers[1].Location || answers[2].Location != structured {
			t.Errorf("the tasks of the batch are %+v, and its last event was %s", answers, structured)
		}
		for _, location := range []string{binary, structured, answers[0].Location, answers[1].Location} {
			s.endsAs(host, location[strings.LastIndex(location, "/")+1:], "done")
		}
		begun, _ := ran(t, journal)
		if begun["1"] != 1 || begun["2"] != 1 || begun["3"] != 0 || begun["0"] != 2 {
			t.Errorf("the runs are %v", begun)
		}
		for contentType, want := range map[string]int{
			"application/cloudevents+json": http.StatusBadRequest, "application/cloudevents+xml": http.StatusUnsupportedMediaType,
		} {
			response, body := s.event(host, contentType, `{"specversion":"1.0"}`, "Prefer", "respond-async")
			if response.StatusCode != want || response.Header.Get("Sluice-Reason") != "BadEvent" {
				t.Errorf("a bad event is answered %s %v: %s", response.Status, response.Header, body)
			}
		}
	})
}

// bySDK sends an event by the SDK's client, and returns the location of its task.
func (s *instance) bySDK(host string, encode func(context.Context) context.Context, id string, journalled int) string {
	s.t.Helper()
	to := &sentTo{host: host}
	client, err := cloudevents.NewClientHTTP(
		cloudevents.WithTarget(fmt.Sprintf("http://%s/?ms=1&id=%d", s.gateway, journalled)), cehttp.WithRoundTripper(to),
		cehttp.WithHeader("Prefer", "respond-async"))
	if err != nil {
		s.t.Fatal(err)
	}
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("/shop")
	e.SetType("order")
	if err := e.SetData("application/json", map[string]int{"n": 1}); err != nil {
		s.t.Fatal(err)
	}
	if result := client.Send(encode(s.t.Context()), e); !cloudevents.IsACK(result) || to.location == "" {
		s.t.Fatalf("the event is answered %v at %q", result, to.location)
	}
	return to.location
}
