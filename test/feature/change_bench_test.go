package feature

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// BenchmarkChange measures the cost of a change of a Service's traffic with so many other Services at zero: the time from the PATCH
// to the first response of the other revision; and, for changes without requests, the CPU time of the process and the writes to
// the API's store for each, including the user's own.
func BenchmarkChange(b *testing.B) {
	const changes, apart = 100, 200 * time.Millisecond
	for _, services := range []int{10, 1000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			s := up(b, "--log-level", "warn", "--config", zeroInitialScale(b))
			s.sleepers(b, services)
			m := s.movable(b)
			time.Sleep(5 * time.Second) // until pending writes are done
			for b.Loop() {
				taken := make([]time.Duration, changes)
				for i := range taken {
					taken[i] = m.timed(b)
				}
				percentiles(b, "patch-to-answer", taken)
				time.Sleep(3 * time.Second)

				before := s.cpu(b)
				time.Sleep(5 * time.Second)
				resting := (s.cpu(b) - before) / 5 // per second
				began, writes, cpu := time.Now(), s.apiWrites(b), s.cpu(b)
				for range changes {
					m.patch(b)
					time.Sleep(apart)
				}
				m.settled(b)
				time.Sleep(3 * time.Second)
				spent := s.cpu(b) - cpu - time.Duration(float64(resting)*time.Since(began).Seconds())
				b.ReportMetric(float64(spent.Microseconds())/1000/changes, "cpu-ms/change")
				b.ReportMetric(float64(s.apiWrites(b)-writes)/changes, "writes/change")
			}
		})
	}
}

// BenchmarkRest measures the idle CPU time of the process, as a share of one core, and how often its threads wake: with ten
// Services at zero and two with a replica each.
func BenchmarkRest(b *testing.B) {
	const period = 30 * time.Second
	s := up(b, "--log-level", "warn", "--config", zeroInitialScale(b))
	s.sleepers(b, 10)
	for _, name := range []string{"warm1", "warm2"} {
		s.create(newApp(b, name, map[string]string{"autoscaling.knative.dev/min-scale": "1"}))
	}
	time.Sleep(10 * time.Second) // until pending writes are done
	for b.Loop() {
		switches, writes, cpu := s.switches(b), s.apiWrites(b), s.cpu(b)
		time.Sleep(period)
		b.ReportMetric(100*(s.cpu(b)-cpu).Seconds()/period.Seconds(), "cpu-%")
		b.ReportMetric(float64(s.switches(b)-switches)/period.Seconds(), "switches/s")
		b.ReportMetric(float64(s.apiWrites(b)-writes), "writes")
	}
}

// movable is a Service with two running revisions, one of which gets all requests.
type movable struct {
	*instance
	name   string
	at     int // which of the two
	client *http.Client
}

func (s *instance) movable(b *testing.B) *movable {
	b.Helper()
	m := &movable{instance: s, name: "moving", client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}}
	keep := map[string]string{"autoscaling.knative.dev/min-scale": "1"}
	o := newApp(b, m.name, keep)
	s.create(o)
	s.change(m.name, func(o *servingv1.Service) {
		o.Spec.Template.Spec.Containers[0].Env = []servingv1.EnvVar{{Name: "SECOND", Value: "yes"}}
	})
	s.ready(m.name)
	m.patch(b)
	m.settled(b)
	return m
}

// patch moves all requests to the other revision.
func (m *movable) patch(b *testing.B) {
	b.Helper()
	m.at = 1 - m.at
	o := &servingv1.Service{}
	o.Namespace, o.Name = "default", m.name
	patch := fmt.Sprintf(`{"spec":{"traffic":[{"revisionName":"%s-00001","percent":%d},{"revisionName":"%s-00002","percent":%d}]}}`,
		m.name, 100*(1-m.at), m.name, 100*m.at)
	if err := m.Patch(context.Background(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		b.Fatal(err)
	}
}

// timed moves all requests to the other revision and returns how long its first response takes.
func (m *movable) timed(b *testing.B) time.Duration {
	b.Helper()
	began := time.Now()
	m.patch(b)
	want := fmt.Sprintf("%s-0000%d", m.name, 1+m.at)
	for deadline := began.Add(time.Minute); ; time.Sleep(500 * time.Microsecond) {
		if m.answering(b) == want {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not answer within a minute", want)
		}
	}
	took := time.Since(began)
	m.settled(b)
	return took
}

// answering returns the revision that answers.
func (m *movable) answering(b *testing.B) string {
	b.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+m.gateway+"/", nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Host = m.name + ".default.localhost"
	response, err := m.client.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.Fatalf("status %d", response.StatusCode)
	}
	text := make([]byte, 100)
	n, _ := response.Body.Read(text)
	return strings.TrimSpace(string(text[:n]))
}

// settled waits until the Service's status says that the change is in force.
func (m *movable) settled(b *testing.B) {
	b.Helper()
	eventually(b, m.name+" is served as asked", func() error {
		o := m.service(m.name)
		for _, t := range o.Status.Traffic {
			if t.RevisionName == fmt.Sprintf("%s-0000%d", m.name, 1+m.at) && t.Percent != nil && *t.Percent == 100 &&
				o.Status.ObservedGeneration == o.Generation {
				if c := o.Status.Condition("Ready"); c != nil && c.Status == "True" {
					return nil
				}
			}
		}
		return fmt.Errorf("status %+v", o.Status)
	})
}

// ticksPerSecond is USER_HZ, the kernel's unit of CPU time: 100 on all systems that Go supports.
const ticksPerSecond = 100

// cpu returns the CPU time of the process and its store, without its other children.
func (s *instance) cpu(b *testing.B) time.Duration {
	b.Helper()
	taken := cpuOf(b, strconv.Itoa(s.process.Pid))
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range children {
		pids, _ := os.ReadFile(file)
		for _, pid := range strings.Fields(string(pids)) {
			if line, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.Contains(string(line), "\x00store\x00") {
				taken += cpuOf(b, pid)
			}
		}
	}
	return taken
}

func cpuOf(b *testing.B, pid string) time.Duration {
	b.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		b.Skip("skipped: no /proc to read CPU times from")
	}
	// The second field is the name, in brackets; user and system time are the 14th and 15th.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// switches returns how often the threads of the process have gone to sleep so far.
func (s *instance) switches(b *testing.B) int {
	b.Helper()
	statuses, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	sum := 0
	for _, path := range statuses {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(rest))
				sum += n
			}
		}
	}
	return sum
}

// apiWrites returns how many writes the API's store has had so far.
func (s *instance) apiWrites(b *testing.B) int {
	b.Helper()
	var list servingv1.ServiceList
	if err := s.List(context.Background(), &list, client.Limit(1)); err != nil {
		b.Fatal(err)
	}
	revision, err := strconv.Atoi(list.ResourceVersion)
	if err != nil {
		b.Fatal(err)
	}
	return revision
}
