package loop_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/model"
)

// The clock of a bubble begins at midnight of 2000-01-01 in UTC, a Saturday.
func planFor(entries ...model.ScheduleEntry) []*model.Schedule {
	for i := range entries {
		entries[i].Name = fmt.Sprint("e", i+1)
	}
	return []*model.Schedule{{Name: "S", Entries: entries}}
}

func window(start string, d time.Duration, least int) model.ScheduleEntry {
	return model.ScheduleEntry{Start: start, Duration: d, Min: &least}
}

func scheduled(s model.Scaled, plan []*model.Schedule) model.Scaled {
	s.Schedules = plan
	return s
}

// readyAt returns how many replicas are ready now.
func (p *plant) readyNow() int {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

// TestScheduleAndNeedFuse is the table: the larger of a schedule of ten and what the load needs, and outside of the window the need.
func TestScheduleAndNeedFuse(t *testing.T) {
	for _, need := range []int{20, 5} {
		run(t, time.Second, func(p *plant) {
			annotations := quick()
			annotations["autoscaling.knative.dev/target-utilization-percentage"] = "100"
			p.Set(scheduled(sleeping(annotations), planFor(window("10 0 * * *", 10*time.Minute, 10))))
			p.hold(1, 1)
			p.serve(float64(need) * 10)
			time.Sleep(5 * time.Minute)
			p.hold(0, 0)
			time.Sleep(4 * time.Minute)
			p.want("before the window", need)
			time.Sleep(6 * time.Minute)
			p.want("in the window", max(10, need))
			want := "the schedule asks for 10: entry e1 of S, until 2000-01-01 00:20 UTC"
			rows := p.Snapshot(context.Background()) // which has the newest decision, also one that changes nothing
			if why := rows[0].Decision.Why(); need == 5 && !strings.HasSuffix(why, want) {
				t.Errorf("why: %q, want %q", why, want)
			}
			time.Sleep(10 * time.Minute)
			p.want("after the window", need)
		})
	}
}

func TestMaximumOfAScheduleLimits(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		cap := 3
		p.Set(scheduled(sleeping(quick()), planFor(model.ScheduleEntry{Start: "10 0 * * *", Duration: 10 * time.Minute, Max: &cap})))
		p.hold(1, 1)
		p.serve(100)
		time.Sleep(9 * time.Minute)
		before := p.decision().Replicas
		if before <= 3 {
			t.Fatalf("before the window %d replicas", before)
		}
		time.Sleep(2 * time.Minute)
		p.want("in the window", 3)
		if why := p.decision().Why(); why != "3 replicas: the schedule allows no more: entry e1 of S, until 2000-01-01 00:20 UTC" {
			t.Errorf("why: %q", why)
		}
		time.Sleep(10 * time.Minute)
		p.want("after the window", before)
	})
}

// TestReadyWhenTheWindowOpens measures replicas that are ready, less the start of the window, over 20 windows.
func TestReadyWhenTheWindowOpens(t *testing.T) {
	for _, start := range []time.Duration{50 * time.Millisecond, 8 * time.Second, 90 * time.Second} {
		t.Run(start.String(), func(t *testing.T) {
			run(t, start, func(p *plant) {
				p.Set(scheduled(model.Scaled{Revision: hello, UID: "1", Annotations: quick(), Before: model.Before{
					Replicas: model.UnknownReplicas}}, planFor(window("30 * * * *", 10*time.Minute, 10))))
				earliest := time.Duration(0)
				time.Sleep(25 * time.Minute)
				for i := range 20 {
					p.want("between two windows", 0)
					open := time.Now().Truncate(time.Hour).Add(30 * time.Minute)
					for p.readyNow() < 10 && time.Now().Before(open) {
						time.Sleep(50 * time.Millisecond)
					}
					if n := p.readyNow(); n < 10 {
						t.Fatalf("window %d: %d replicas are ready when it opens; %s", i+1, n, p.history())
					}
					earliest = max(earliest, time.Until(open))
					time.Sleep(time.Until(open.Add(9 * time.Minute)))
					p.want("in the window", 10)
					time.Sleep(time.Until(open.Add(55 * time.Minute)))
				}
				t.Logf("with a start of %v, replicas are ready up to %v before the window", start, earliest)
				if earliest > start/4+2*time.Second {
					t.Errorf("they are ready %v too early", earliest)
				}
			})
		})
	}
}

func TestLeadThatIsGiven(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		plan := planFor(window("30 0 * * *", 10*time.Minute, 4))
		plan[0].Lead = new(5 * time.Minute)
		p.Set(scheduled(sleeping(quick()), plan))
		time.Sleep(25*time.Minute - time.Millisecond)
		p.want("before the lead", 0)
		time.Sleep(time.Millisecond)
		p.want("at the lead", 4)
		if why := p.decision().Why(); why !=
			"4 replicas: the schedule asks for 4: entry e1 of S begins at 2000-01-01 00:30 UTC, and replicas must be ready then" {
			t.Errorf("why: %q", why)
		}
	})
}

func TestRestartInsideAWindow(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		time.Sleep(35 * time.Minute)
		p.Set(scheduled(sleeping(quick()), planFor(window("30 0 * * *", 10*time.Minute, 4))))
		p.want("at once", 4)
		time.Sleep(7 * time.Minute)
		p.want("after it", 0)
	})
}

func TestScheduleThatChanges(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		one := planFor(window("0 0 * * *", time.Hour, 4))
		s := scheduled(sleeping(quick()), one)
		p.Set(s)
		p.want("in the window", 4)
		p.Set(scheduled(s, planFor(window("0 0 * * *", time.Hour, 7))))
		p.want("with another schedule", 7)
		p.Set(scheduled(s, nil)) // such as when no Route names it
		time.Sleep(2 * time.Minute)
		p.want("without any", 0)
		p.Set(scheduled(s, append(planFor(window("0 0 * * *", time.Hour, 2)), one...)))
		p.want("with two", 4)
		p.Set(scheduled(s, []*model.Schedule{{Name: "wrong", TimeZone: "Mars"}, one[0]}))
		p.want("with one that is wrong", 4)
		p.Remove(hello)
		time.Sleep(2 * time.Hour)
		if n, m := loop.Agenda(p.Loop); n != 0 || m != 0 {
			t.Errorf("of a revision that is gone %d changes are awaited and %d schedules kept", n, m)
		}
	})
}

// TestClockThatIsSetBack asks a loop that does not run, since a bubble's clock goes forward only.
func TestClockThatIsSetBack(t *testing.T) {
	l := loop.New(loop.Options{})
	tick, midnight := loop.Ticker(l), time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	l.Set(scheduled(sleeping(nil), planFor(window("0 8 * * *", time.Hour, 4))))
	loop.Drain(l, midnight)
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{7 * time.Hour, 0}, {8 * time.Hour, 4}, {7 * time.Hour, 0}, {8*time.Hour + time.Minute, 4}, {24 * time.Hour, 0},
		{32 * time.Hour, 4}} {
		tick(midnight.Add(c.at))
		if got := loop.Floor(l, hello); got != c.want {
			t.Errorf("after %v the schedule asks for %d, want %d", c.at, got, c.want)
		}
	}
}

// BenchmarkTickWithSchedules is a tick of 10,000 revisions, each with a schedule of its own, requests at activators and figures of replicas,
// half of which decide; and the moment at which the bounds of all of them change.
func BenchmarkTickWithSchedules(b *testing.B) {
	const n = 10_000
	for _, shared := range []bool{false, true} {
		l := loop.New(loop.Options{})
		tick := loop.Ticker(l)
		reports := loop.Report{Reporter: "activator", Activator: true}
		now := time.Unix(1e9, 0)
		var common []*model.Schedule
		for i := range n {
			plan := []*model.Schedule{{Name: "S", TimeZone: "Europe/Berlin", Entries: []model.ScheduleEntry{
				{Name: "day", Start: "0 8 * * 1-5", End: "0 18 * * 1-5", Min: new(10)},
				{Name: "peak", Start: "*/2 * * * *", Duration: time.Minute, Min: new(11), Max: new(100)},
			}}}
			if common == nil {
				common = plan
			}
			if shared {
				plan = common
			}
			key := model.Key{Namespace: "default", Name: fmt.Sprint("r", i)}
			l.Set(model.Scaled{Revision: key, UID: "1", Schedules: plan,
				Before: model.Before{Replicas: 1, Active: model.True, Initialized: true}})
			reports.Loads = append(reports.Loads, loop.Load{Revision: key, Concurrency: math.Mod(float64(i), 50), Requests: 10})
			l.Running(model.WorkloadStatus{Revision: key, UID: "1", Ready: make([]model.Endpoint, 1)})
		}
		l.Report(reports)
		loop.Drain(l, now)
		for _, change := range []bool{false, true} {
			b.Run(fmt.Sprintf("shared=%t/change=%t", shared, change), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					now = now.Add(time.Second)
					for change && now.Second() != 0 || !change && (now.Second() == 0 || now.Second() >= 50) {
						now = now.Add(time.Second)
						if !change {
							tick(now)
						}
					}
					b.StartTimer()
					loop.Scraped(l, now) // part of what a second costs
					tick(now)
				}
			})
		}
	}
}
