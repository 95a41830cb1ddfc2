package feature

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHeadersOfTracesArePassedOn sends W3C's headers of traces (https://www.w3.org/TR/trace-context/) on both ways to a replica. Nobody in
// between takes part in traces, so nobody may change them, nor invent some.
func TestHeadersOfTracesArePassedOn(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		s.create(
			newApp(t, "direct", map[string]string{autoscaling + "target-burst-capacity": "0", autoscaling + "min-scale": "1"}),
			newApp(t, "activated", map[string]string{autoscaling + "target-burst-capacity": "-1"}),
		)
		const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
		for name, sent := range map[string]http.Header{
			"sampled":     {"Traceparent": {parent + "01"}, "Tracestate": {"a=1,b@c=x%20y"}, "Baggage": {"user=1;secret, k=v"}},
			"not sampled": {"Traceparent": {parent + "00"}, "Tracestate": {"a=1"}},
			"two lines":   {"Traceparent": {parent + "01"}, "Tracestate": {"a=1", "b=2"}},
			"a newer version, and none of W3C's": {"Traceparent": {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes"},
				"Baggage": {"???"}},
			"none": {},
		} {
			for _, service := range []string{"direct", "activated"} {
				got, err := s.traced(service+".default.localhost", sent)
				if err != nil {
					t.Errorf("%s to %s: %v", name, service, err)
				}
				if diff := cmp.Diff(joined(sent), joined(got)); diff != "" {
					t.Errorf("%s to %s (-sent +received):\n%s", name, service, diff)
				}
			}
		}
	})
}

// joined are the lines of each header as one, as HTTP lets anybody in between do.
func joined(h http.Header) map[string]string {
	lines := map[string]string{}
	for name, values := range h {
		lines[name] = strings.ReplaceAll(strings.Join(values, ","), ", ", ",")
	}
	return lines
}

// traced sends headers of a trace, and returns those that the application got.
func (s *instance) traced(host string, headers http.Header) (http.Header, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+s.gateway+"/", nil)
	if err != nil {
		return nil, err
	}
	r.Host, r.Header = host, headers.Clone()
	response, err := (&http.Client{Timeout: patience}).Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d %s %w", response.StatusCode, body, err)
	}
	got := http.Header{}
	for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
		if values := response.Header["App-"+name]; len(values) > 0 {
			got[name] = values
		}
	}
	return got, nil
}
