package feature

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// quickToZero is a configuration in which revisions may start at zero and soon scale to zero again.
const quickToZero = "allow-zero-initial-scale: true\nscale-to-zero-grace-period: 1s\n"

// asleep returns the annotations of a revision that starts at zero and has the shortest window, and others in pairs.
func asleep(others ...string) map[string]string {
	all := map[string]string{"autoscaling.knative.dev/initial-scale": "0", "autoscaling.knative.dev/window": "6s"}
	for i := 0; i < len(others); i += 2 {
		all[others[i]] = others[i+1]
	}
	return all
}

// crowd is a load with a changing number of clients. Each sends one request after the other, and none is cut off.
type crowd struct {
	*load
	s       *instance
	host    string
	leaving []chan struct{}
	took    durations
}

func (s *instance) newCrowd(host string) *crowd {
	return &crowd{load: &load{counts: map[string]int{}}, s: s, host: host}
}

// size sets the number of clients. Surplus clients end after their current request.
func (c *crowd) size(clients int) {
	for len(c.leaving) > clients {
		close(c.leaving[len(c.leaving)-1])
		c.leaving = c.leaving[:len(c.leaving)-1]
	}
	for len(c.leaving) < clients {
		leave := make(chan struct{})
		c.leaving = append(c.leaving, leave)
		c.done.Go(func() {
			transport := &http.Transport{MaxIdleConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			for {
				select {
				case <-leave:
					return
				default:
					c.request(client)
				}
			}
		})
	}
}

func (c *crowd) request(client *http.Client) {
	began := time.Now()
	c.one(context.Background(), client, c.s.gateway, c.host)
	c.took.add(time.Since(began))
}

// burst sends so many requests at once, each over a new connection.
func (c *crowd) burst(requests int) {
	for range requests {
		c.done.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			c.request(&http.Client{Transport: transport, Timeout: patience})
		})
	}
}

// end waits for the requests in flight.
func (c *crowd) end() (answered int, failed []string) {
	c.size(0)
	c.cancel = func() {}
	return c.stop()
}

// shape is a load over time.
type shape struct {
	name  string
	burst string // target-burst-capacity: requests go through the activator always (-1), sometimes, or only at zero (0)
	run   func(*crowd)
}

var shapes = []shape{
	{"step", "211", func(c *crowd) {
		c.size(100)
		time.Sleep(6 * time.Second) // how long the load lasts
	}},
	{"sine", "0", func(c *crowd) {
		const period, length = 6 * time.Second, 12 * time.Second
		for began := time.Now(); time.Since(began) < length; time.Sleep(100 * time.Millisecond) {
			c.size(int(50 * (1 - math.Cos(2*math.Pi*float64(time.Since(began))/float64(period)))))
		}
	}},
	{"burst", "-1", func(c *crowd) {
		for range 4 {
			c.burst(100)
			time.Sleep(1500 * time.Millisecond) // between two bursts
		}
	}},
}

// course is the outcome of a load.
type course struct {
	answered int
	failed   []string
	over     time.Time // when its last request was answered
	seconds  float64
	took     *durations
}

// follow makes a Service at zero whose replicas work on ten requests at a time for 300 ms, and loads it.
func (s *instance) follow(sh shape) course {
	s.t.Helper()
	o := newApp(s.t, sh.name, asleep("autoscaling.knative.dev/target-burst-capacity", sh.burst), "MS", "300", "LIMIT", "10")
	o.Spec.Template.Spec.ContainerConcurrency = new(int64(10))
	s.create(o)
	c := s.newCrowd(sh.name + ".default.localhost")
	began := time.Now()
	sh.run(c)
	answered, failed := c.end()
	return course{answered: answered, failed: failed, over: time.Now(), seconds: time.Since(began).Seconds(), took: &c.took}
}

func TestReplicasFollowTheLoadFromZeroAndBack(t *testing.T) {
	onEachGateway(t, replicasFollowTheLoadFromZeroAndBack)
}

func replicasFollowTheLoadFromZeroAndBack(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	courses := map[string]course{}
	for _, sh := range shapes {
		courses[sh.name] = s.follow(sh) // while the one before scales to zero
	}
	for name, c := range courses {
		if len(c.failed) > 0 {
			t.Errorf("%s: %d of %d requests failed, the first: %s", name, len(c.failed), c.answered+len(c.failed), c.failed[0])
		}
		s.scaledTo(name+"-00001", 0)
		steps, most := s.steps(name+"-00001"), 0
		for _, step := range steps {
			most = max(most, step.to)
		}
		if most < 5 {
			t.Errorf("%s: at most %d replicas for 100 concurrent requests, ten for each", name, most)
		}
		t.Logf("%s: %d requests answered in %.1f s, %d replicas at the most, zero asked for %.1f s after the last answer",
			name, c.answered, c.seconds, most, steps[len(steps)-1].at.Sub(c.over).Seconds())
	}
	eventually(t, "no process is left", func() error {
		if left := s.replicas(); len(left) > 0 {
			return fmt.Errorf("processes %v run though every revision is at zero", left)
		}
		return nil
	})
}

// BenchmarkLoadFromZero measures a revision under each shape of load: how many requests are answered, how long they take (a replica
// needs 300 ms of that), and how long after the last response the last replica begins to stop.
func BenchmarkLoadFromZero(b *testing.B) {
	for _, sh := range shapes {
		b.Run(sh.name, func(b *testing.B) {
			for b.Loop() {
				s := up(b, "--config", configFile(b, quickToZero))
				c := s.follow(sh)
				s.scaledTo(sh.name+"-00001", 0)
				steps := s.steps(sh.name + "-00001")
				s.stop()
				percentiles(b, "request", c.took.all())
				b.ReportMetric(float64(c.answered)/c.seconds, "requests/s")
				b.ReportMetric(float64(len(c.failed)), "failed")
				b.ReportMetric(float64(len(steps)), "steps")
				b.ReportMetric(steps[len(steps)-1].at.Sub(c.over).Seconds(), "to-zero-s")
			}
		})
	}
}

// scaleStep is a step of a revision's scale from the log.
type scaleStep struct {
	at       time.Time
	from, to int
	why      string
}

var scaleLine = regexp.MustCompile(`(?m)^(\S+) \[INFO\]  sluice.autoscaler: scaling: revision=default/(\S+) from=(\d+) to=(\d+) why="(.*)"$`)

// steps returns the steps of a Revision since the process started.
func (s *instance) steps(revision string) []scaleStep {
	s.t.Helper()
	var all []scaleStep
	for _, m := range scaleLine.FindAllStringSubmatch(s.printed(), -1) {
		if m[2] != revision {
			continue
		}
		at, err := momentOf(m[1])
		if err != nil {
			s.t.Fatal(err)
		}
		from, _ := strconv.Atoi(m[3]) // the expression matches only digits
		to, _ := strconv.Atoi(m[4])
		all = append(all, scaleStep{at, from, to, m[5]})
	}
	return all
}

// momentOf returns the newest moment with this time of day.
func momentOf(clock string) (time.Time, error) {
	now := time.Now()
	at, err := time.ParseInLocation("2006-01-02 15:04:05.000", now.Format("2006-01-02 ")+clock, now.Location())
	if at.After(now.Add(time.Minute)) { // of yesterday
		at = at.AddDate(0, 0, -1)
	}
	return at, err
}

// figures returns the metrics of the instance whose names have a prefix, with their labels, such as
// sluice_autoscaler_ready_replicas{namespace="default",revision="hello-00001"}.
func (s *instance) figures(prefix string) map[string]float64 {
	s.t.Helper()
	status, text, err := s.admined("/metrics")
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("metrics: status %d, %v", status, err)
	}
	all, err := figuresOf(text, prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// figuresOf returns the metrics of a page whose names have a prefix.
func figuresOf(text, prefix string) (map[string]float64, error) {
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		var err error
		if all[name], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
	}
	return all, nil
}

// ofRevision returns a metric of a Revision; false if there is none.
func ofRevision(all map[string]float64, name, revision string) (float64, bool) {
	for _, labels := range []string{`{namespace="default",revision="%s"}`, `{namespace_name="default",revision_name="%s"}`} {
		if v, ok := all[name+fmt.Sprintf(labels, revision)]; ok {
			return v, true
		}
	}
	return 0, false
}

// Requests come at every moment of the scale to zero: before the decision, while gateways receive the new endpoints, while the replica
// drains, and after that.
func TestNoRequestFailsThatMeetsARevisionFallingAsleep(t *testing.T) {
	onEachGateway(t, noRequestFailsThatMeetsARevisionFallingAsleep)
}

func noRequestFailsThatMeetsARevisionFallingAsleep(t *testing.T, g gateway) {
	const services = 40
	s := g.up(t, "--config", configFile(t, quickToZero))
	made := make([]*servingv1.Service, services)
	for i := range made {
		burst := []string{"-1", "0"}[i%2] // always through the activator, and only at zero
		made[i] = newApp(t, fmt.Sprint("drowsy", i), asleep("autoscaling.knative.dev/target-burst-capacity", burst), "LIMIT", "1")
		made[i].Spec.Template.Spec.ContainerConcurrency = new(int64(1))
	}
	s.create(made...)
	for from, rounds := 7*time.Second, 5; ; rounds-- {
		before := s.wokenBy(made)
		answered, failed := s.meet(made, from)
		if len(failed) > 0 {
			t.Fatalf("%d of %d requests failed, the first: %s", len(failed), 2*services, failed[0])
		}
		woken := s.wokenBy(made) - before
		t.Logf("%d requests answered, %d of which woke a revision", answered, woken)
		slept := woken - services // each first request wakes its revision, but in later rounds some revisions still run
		switch {
		case slept > 0 && slept < services:
			return
		case rounds == 0:
			t.Fatalf("%d of %d requests woke a revision: they did not come around the scale to zero", woken, 2*services)
		case slept <= 0:
			from += 2 * time.Second // a busy machine scales to zero later
		default:
			from -= time.Second
		}
		for _, o := range made {
			s.scaledTo(o.Name+"-00001", 0)
		}
	}
}

// meet sends each Service a request that wakes it, and another around its scale to zero: the first Service after from, the others one
// after the other.
func (s *instance) meet(services []*servingv1.Service, from time.Duration) (answered int, failed []string) {
	const apart = 150 * time.Millisecond
	l := &load{counts: map[string]int{}, cancel: func() {}}
	for i, o := range services {
		l.done.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: patience}
			defer client.CloseIdleConnections()
			l.one(context.Background(), client, s.gateway, o.Name+".default.localhost")
			time.Sleep(from + time.Duration(i)*apart)
			l.one(context.Background(), client, s.gateway, o.Name+".default.localhost")
		})
	}
	return l.stop()
}

// wokenBy returns how often the Services have been woken since the start.
func (s *instance) wokenBy(services []*servingv1.Service) (woken int) {
	for _, o := range services {
		for _, step := range s.steps(o.Name + "-00001") {
			if step.from == 0 {
				woken++
			}
		}
	}
	return woken
}
