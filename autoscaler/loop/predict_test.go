package loop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/model"
)

var config = model.Key{Namespace: "default", Name: "hello"}

// memory is an archive that keeps histories in memory.
type memory struct {
	mu    sync.Mutex
	files map[model.Key][]byte
	err   error
}

func (m *memory) Load(owner model.Key) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[owner], m.err
}

func (m *memory) Save(owner model.Key, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[owner] = data
	return nil
}

func (m *memory) Remove(owner model.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, owner)
	return nil
}

func (m *memory) history(t *testing.T) (h forecast.History) {
	t.Helper()
	data, _ := m.Load(config)
	var kept struct{ History []byte }
	if err := errors.Join(json.Unmarshal(data, &kept), h.UnmarshalBinary(kept.History)); err != nil {
		t.Fatal(err)
	}
	return h
}

// past returns an archive with the load of so many days before a bubble begins: 50 from 00:30 to 01:00, else none.
func past(days int) *memory {
	return pastOf(days, func(at time.Time) float64 {
		if at.Hour() == 0 && at.Minute() >= 30 {
			return 50
		}
		return 0
	})
}

func pastOf(days int, load func(time.Time) float64) *memory {
	var h forecast.History
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for at := begin.AddDate(0, 0, -days); at.Before(begin); at = at.Add(forecast.Bucket) {
		h.Record(at, load(at))
	}
	history, _ := h.MarshalBinary()
	data, _ := json.Marshal(map[string]any{"metric": "concurrency", "history": history, "startsNanoseconds": []int64{1e9, -5}})
	return &memory{files: map[model.Key][]byte{config: data}}
}

// predictive is a revision at zero whose load is forecast. A replica has a target of 7.
func predictive(mode string, more ...string) model.Scaled {
	a := quick()
	a["sluice.dev/predictive"] = mode
	for i := 0; i < len(more); i += 2 {
		a[more[i]] = more[i+1]
	}
	s := sleeping(a)
	s.Configuration = config
	return s
}

// forecastOf returns what the forecast asks for.
func (p *plant) forecastOf() model.Proposal {
	p.t.Helper()
	for _, row := range p.Snapshot(p.t.Context()) {
		for _, proposal := range row.Proposals {
			if strings.HasPrefix(proposal.Signal, "the forecast") {
				return proposal
			}
		}
	}
	return model.Proposal{}
}

func TestAForecastRaisesBeforeThePeak(t *testing.T) {
	runWith(t, time.Second, loop.Options{Archive: past(3)}, func(p *plant) {
		p.Set(predictive("auto"))
		p.idle()
		time.Sleep(25 * time.Minute)
		p.want("long before the peak", 0)
		time.Sleep(5 * time.Minute)
		p.want("when the peak begins", 8)
		if n := p.readyNow(); n != 8 {
			t.Errorf("%d replicas are ready when the peak begins", n)
		}
		if f := p.forecastOf(); f.Why != "concurrency 50 is expected at 00:30, by the median of 3 days" {
			t.Errorf("why: %q", f.Why)
		}
		p.hold(150, 0)
		time.Sleep(3 * time.Minute)
		p.want("when the load needs more", 22)
		p.hold(0, 0)
		time.Sleep(10 * time.Minute)
		if n := p.decision().Replicas; n < 4 || n > 16 {
			t.Errorf("in the peak without load there are %d replicas: %s", n, p.history())
		}
		time.Sleep(30 * time.Minute)
		p.want("after the peak", 0)
	})
}

func TestAForecastIsBoundedByMaxScale(t *testing.T) {
	runWith(t, time.Second, loop.Options{Archive: past(3)}, func(p *plant) {
		p.Set(predictive("auto", "autoscaling.knative.dev/max-scale", "3", "sluice.dev/predictive-lead", "10m"))
		time.Sleep(18 * time.Minute)
		p.want("before the given lead", 0)
		time.Sleep(3 * time.Minute)
		p.want("after it", 3)
	})
}

func TestAnObservedForecastChangesNothing(t *testing.T) {
	runWith(t, time.Second, loop.Options{Archive: past(3)}, func(p *plant) {
		p.Set(predictive("observe"))
		p.idle()
		time.Sleep(31 * time.Minute)
		f := p.forecastOf()
		if f.Signal != "the forecast (only observed)" || f.Replicas != 8 {
			t.Errorf("it asks for %+v", f)
		}
		p.mu.Lock()
		shown := p.last.Proposals
		steps := p.at
		p.mu.Unlock()
		if len(shown) != 1 || shown[0] != f {
			t.Errorf("%v was handed on to be shown", shown)
		}
		for _, step := range steps {
			if step.Replicas != 0 {
				t.Errorf("%d replicas: %s", step.Replicas, step.Why())
			}
		}
	})
}

func TestWithoutEnoughHistoryAForecastHoldsNothing(t *testing.T) {
	for name, archive := range map[string]*memory{
		"a day": past(1), "nothing": {files: map[model.Key][]byte{}}, "an error": {err: errors.New("no disk"), files: past(3).files},
		"nonsense": {files: map[model.Key][]byte{config: []byte(`{"history":"AAAA"}`)}},
		"too much": {files: map[model.Key][]byte{config: make([]byte, loop.MaxKept+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			runWith(t, time.Second, loop.Options{Archive: archive}, func(p *plant) {
				p.Set(predictive("auto"))
				p.hold(20, 0)
				time.Sleep(10 * time.Minute)
				p.want("with load", 3)
				if f := p.forecastOf(); f.Replicas != model.UnknownReplicas || !strings.Contains(f.Why, "fewer than two days") {
					t.Errorf("it asks for %+v", f)
				}
				p.idle()
				time.Sleep(21 * time.Minute)
				p.want("without load", 0)
			})
		})
	}
}

func TestANewRevisionTakesTheHistoryOver(t *testing.T) {
	runWith(t, time.Second, loop.Options{Archive: past(3)}, func(p *plant) {
		old := predictive("auto")
		p.Set(old)
		time.Sleep(10 * time.Minute)
		next := predictive("auto")
		next.Revision.Name, next.UID = "hello-00002", "2"
		p.Set(next)
		old.Unreachable = true
		p.Set(old)
		p.Remove(old.Revision)
		time.Sleep(21 * time.Minute)
		if f := p.forecastOf(); f.Replicas != 8 {
			t.Errorf("it asks for %+v", f)
		}
	})
}

func TestHistoryIsKeptAndDroppedWithItsConfiguration(t *testing.T) {
	archive := &memory{files: map[model.Key][]byte{}}
	for i := range 2 { // the second one goes on with what the first has kept
		runWith(t, time.Second, loop.Options{Archive: archive}, func(p *plant) {
			time.Sleep(time.Duration(i) * time.Hour) // each bubble begins at the same moment
			p.Set(predictive("auto"))
			p.hold(20, 0)
			time.Sleep(30 * time.Minute)
			p.decision()
		})
		h := archive.history(t)
		if known, want := h.Known(), time.Duration(i+1)*25*time.Minute; known < want {
			t.Errorf("after run %d the load of %v is known, want %v", i+1, known, want)
		}
	}
	runWith(t, time.Second, loop.Options{Archive: archive}, func(p *plant) {
		p.Set(predictive("auto"))
		time.Sleep(2 * time.Minute)
		p.Remove(hello)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if data, _ := archive.Load(config); data != nil {
			t.Errorf("%d bytes are left of a Configuration that is gone", len(data))
		}
	})
}

// BenchmarkTickWithForecasts is a tick of 10,000 revisions with three weeks of history each: all of them asked in turn in a minute. Each has
// load, requests at activators and figures of replicas.
func BenchmarkTickWithForecasts(b *testing.B) {
	const n = 10_000
	template := pastOf(22, func(at time.Time) float64 { return 50 + 40*math.Sin(float64(at.Unix())/13750) }).files[config]
	archive := &memory{files: map[model.Key][]byte{}}
	l := loop.New(loop.Options{Archive: archive})
	tick := loop.Ticker(l)
	reports := loop.Report{Reporter: "activator", Activator: true}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		key := model.Key{Namespace: "default", Name: fmt.Sprint("r", i)}
		archive.files[key] = template
		l.Set(model.Scaled{Revision: key, UID: "1", Configuration: key, Annotations: map[string]string{"sluice.dev/predictive": "auto"},
			Before: model.Before{Replicas: 1, Active: model.True, Initialized: true}})
		reports.Loads = append(reports.Loads, loop.Load{Revision: key, Concurrency: math.Mod(float64(i), 50), Requests: 10})
		l.Running(model.WorkloadStatus{Revision: key, UID: "1", Ready: make([]model.Endpoint, 1)})
	}
	l.Report(reports)
	loop.Drain(l, now)
	loop.Restore(l)
	loop.Drain(l, now)
	slowest := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		begin := time.Now()
		loop.Scraped(l, now) // part of what a second costs
		tick(now)
		slowest = max(slowest, time.Since(begin))
	}
	b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
}
