package feature

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// percentiles reports the 50th and the 99th percentile of durations, in milliseconds.
func percentiles(b *testing.B, name string, all []time.Duration) {
	slices.Sort(all)
	at := func(p int) float64 { return float64(all[(len(all)-1)*p/100].Microseconds()) / 1000 }
	b.ReportMetric(at(50), name+"-p50-ms")
	b.ReportMetric(at(99), name+"-p99-ms")
}

// BenchmarkStart measures the time from the start of the process until it prints that it is ready: in an empty
// folder, and again in the same folder.
func BenchmarkStart(b *testing.B) {
	var cold, warm []time.Duration
	for b.Loop() {
		begin := time.Now()
		s := up(b)
		cold = append(cold, time.Since(begin))
		s.stop()
		begin = time.Now()
		s.start()
		warm = append(warm, time.Since(begin))
		s.stop()
	}
	percentiles(b, "cold", cold)
	percentiles(b, "warm", warm)
}

// tiny builds the server of testdata/tiny.
func tiny(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "tiny")
	if out, err := exec.Command("go", "build", "-o", path, "./testdata/tiny").CombinedOutput(); err != nil {
		b.Fatalf("building tiny: %v: %s", err, out)
	}
	return path
}

// parallel calls each for 0 to n-1 from 16 goroutines.
func parallel(n int, each func(int)) {
	var group sync.WaitGroup
	next := make(chan int)
	for range 16 {
		group.Go(func() {
			for i := range next {
				each(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}

func newRoute(name, revision string) *servingv1.Route {
	r := &servingv1.Route{}
	r.Namespace, r.Name = "default", name
	r.Spec.Traffic = servingv1.Traffic{target(revision, "", 100)}
	return r
}

// BenchmarkApplyToFirst200 measures the time from the moment when the client sends a Route to the API server until the
// gateway answers 200 for its host, with so many other routes in either form. The routes lead to 50 running services.
func BenchmarkApplyToFirst200(b *testing.B) {
	for _, routes := range []int{10, 1000, 5000} {
		for _, form := range []string{"scoped", "inline"} {
			for _, g := range gateways {
				b.Run(fmt.Sprintf("routes=%d/%s/%s", routes, form, g.name), func(b *testing.B) {
					s := g.up(b, "--log-level", "warn", "--routes", form)
					s.fill(b, min(50, routes), routes)
					s.benchmarkApply(b, min(50, routes))
				})
			}
		}
	}
}

func (s *instance) benchmarkApply(b *testing.B, services int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	var all []time.Duration
	for b.Loop() {
		name := fmt.Sprintf("fresh%d", len(all))
		route := newRoute(name, fmt.Sprintf("s%d-00001", len(all)%services))
		begin := time.Now()
		if err := s.Create(b.Context(), route); err != nil {
			b.Fatal(err)
		}
		for s.answer(b, client, name+".default.localhost") != http.StatusOK {
			time.Sleep(200 * time.Microsecond)
		}
		all = append(all, time.Since(begin))
		s.routeReady(b, name) // the next one begins after the write of this one's status
	}
	percentiles(b, "apply-200", all)
}

// answer returns the gateway's status for a host.
func (s *instance) answer(b *testing.B, client *http.Client, host string) int {
	request, err := http.NewRequest(http.MethodGet, "http://"+s.gateway+"/", nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Host = host
	response, err := client.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// fill makes services s0, s1, … and the missing Routes to them, and waits until all are ready.
func (s *instance) fill(b *testing.B, services, routes int) {
	b.Helper()
	command := tiny(b)
	parallel(services, func(i int) {
		if err := s.Create(b.Context(), newService(fmt.Sprintf("s%d", i), command)); err != nil {
			b.Error(err)
		}
	})
	for i := range services {
		s.ready(fmt.Sprintf("s%d", i))
	}
	parallel(routes-services, func(i int) {
		if err := s.Create(b.Context(), newRoute(fmt.Sprintf("r%d", i), fmt.Sprintf("s%d-00001", i%services))); err != nil {
			b.Error(err)
		}
	})
	for i := max(0, routes-services-20); i < routes-services; i++ {
		s.routeReady(b, fmt.Sprintf("r%d", i))
	}
}

func (s *instance) routeReady(b *testing.B, name string) {
	b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r := &servingv1.Route{}
		if err := s.Get(b.Context(), types.NamespacedName{Namespace: "default", Name: name}, r); err != nil {
			b.Fatal(err)
		}
		if c := r.Status.Condition("Ready"); c != nil && c.Status == "True" {
			return
		}
	}
	b.Fatalf("route %s is not ready after 5 minutes", name)
}

// BenchmarkMemory measures the memory of the one process: idle, and what each of 1,000 running services adds to it (API
// objects, control plane, gateway and queue-proxy, but not the memory of the replicas' processes). Live is the heap
// after a garbage collection, resident what the process has from the system.
func BenchmarkMemory(b *testing.B) {
	const services = 1000
	for b.Loop() {
		s := up(b, "--log-level", "warn")
		idleLive, idle := s.memory(b)
		s.fill(b, services, services)
		time.Sleep(5 * time.Second) // until pending writes are done
		live, full := s.memory(b)
		b.ReportMetric(float64(idle)/(1<<20), "idle-MiB")
		b.ReportMetric(float64(full)/(1<<20), "full-MiB")
		b.ReportMetric(float64(full-idle)/services/1024, "KiB/service")
		b.ReportMetric(float64(live-idleLive)/services/1024, "live-KiB/service")
		s.stop()
	}
}

// memory returns the live heap after a garbage collection, and the anonymous resident memory (mapped files belong to the page
// cache), in bytes.
func (s *instance) memory(b *testing.B) (live, resident int) {
	b.Helper()
	if _, _, err := s.admined("/debug/pprof/heap?gc=1"); err != nil {
		b.Fatal(err)
	}
	_, metrics, err := s.admined("/metrics")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(metrics) {
		if rest, ok := strings.CutPrefix(line, "go_memstats_heap_alloc_bytes "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				b.Fatal(err)
			}
			live = int(value)
		}
	}
	return live, s.resident(b)
}

// resident returns the anonymous resident memory of the process, in bytes. Mapped files belong to the page cache.
func (s *instance) resident(b *testing.B) int {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Pid))
	if err != nil {
		b.Skip("skipped: no /proc to read memory from")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
	}
	b.Skip("skipped: no RssAnon in /proc")
	return 0
}
