package scrape

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestLoadOfReadings(t *testing.T) {
	hour := reading{uptime: 3600, requests: 36000, concurrency: 7200, proxiedConcurrency: 3600, inFlight: 5, proxiedInFlight: 2}
	after := func(r reading, change func(r *reading)) reading { change(&r); return r }
	for name, test := range map[string]struct {
		said []reading
		want load // of the last
	}{
		"averages between two": {
			[]reading{hour, after(hour, func(r *reading) {
				r[uptime] += 2
				r[requests], r[proxiedRequests] = r[requests]+10, 4
				r[concurrency], r[proxiedConcurrency] = r[concurrency]+6, r[proxiedConcurrency]+4
				r[streams], r[proxiedStreams] = 3, 1
			})},
			load{concurrency: 3, proxiedConcurrency: 2, streams: 1.5, proxiedStreams: 0.5, requests: 5, proxiedRequests: 2},
		},
		"idle between two": {
			[]reading{hour, after(hour, func(r *reading) { r[uptime]++; r[inFlight], r[proxiedInFlight] = 0, 0 })}, load{},
		},
		"the first of an old one: what is in flight": {[]reading{hour}, load{concurrency: 5, proxiedConcurrency: 2, requests: 10}},
		"a long silence: what is in flight": {
			[]reading{hour, after(hour, func(r *reading) { r[uptime] += 60; r[requests] += 60 })},
			load{concurrency: 5, proxiedConcurrency: 2, requests: 1},
		},
		"the first of a young one, busy": {
			[]reading{{uptime: 0.1, requests: 8, proxiedRequests: 8, concurrency: 0.5, inFlight: 8, proxiedInFlight: 8}},
			load{concurrency: 8, proxiedConcurrency: 8, requests: 8, proxiedRequests: 8},
		},
		"the first of a young one, after a burst": {
			[]reading{{uptime: 2, requests: 8, concurrency: 6, streams: 2}}, load{concurrency: 3, streams: 1, requests: 4},
		},
		"counters that went back: a new life": {
			[]reading{hour, {uptime: 3602, requests: 10, concurrency: 1, inFlight: 1}},
			load{concurrency: 1, requests: 10.0 / 3602},
		},
		"an uptime that went back": {
			[]reading{hour, {uptime: 1, requests: 40000, concurrency: 8000, proxiedConcurrency: 4000, inFlight: 1}},
			load{concurrency: 8000, proxiedConcurrency: 4000, requests: 40000},
		},
		"a clock that stands": {[]reading{hour, hour}, load{concurrency: 5, proxiedConcurrency: 2, requests: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			var r replica
			var got load
			for _, said := range test.said {
				l, err := r.take(said, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				got = l
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(load{}), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAbsurdRatesAreRefused(t *testing.T) {
	var r replica
	if _, err := r.take(reading{uptime: 10}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.take(reading{uptime: 10.001, requests: 1e12}, time.Now()); err == nil {
		t.Error("1e15 requests a second were believed")
	}
	if _, err := r.take(reading{uptime: 11, requests: 1e12 + 5}, time.Now()); err != nil {
		t.Errorf("the next reading is a true one: %v", err)
	}
}
