package peers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
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
)

// party is one process that answers requests.
type party struct {
	name, url string
	pid       int
	paced     []time.Duration // latencies at a fixed rate
	full      []float64       // requests per second as fast as it can
	cpu       time.Duration   // at the fixed rate
	fullCPU   time.Duration
	fullCount int
}

// BenchmarkQueueProxy compares the queue-proxies in front of the same application, each in a process of its own. They take turns, so
// that other load on the machine affects all alike. It measures them at 1,000 requests a second independent of latency, and with 16
// clients that send as fast as they get answers. For the first it reports what each adds to the application's own latency. A relay
// that copies bytes takes part too: what it adds is the cost of any process in between on this machine.
func BenchmarkQueueProxy(b *testing.B) {
	parties := queueProxies(b)
	for b.Loop() { // once: the rounds below are fixed and long enough
	}
	compare(b, &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}, parties)
}

// compare lets the parties take turns and reports the results. The first party is the application itself.
func compare(b *testing.B, transport http.RoundTripper, parties []*party) {
	const rounds, rate, paced, full = 6, 1000, 2 * time.Second, time.Second
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	for round := range rounds + 1 {
		for _, p := range parties {
			before := processorTime(b, p.pid)
			took := atRate(b, client, p.url, rate, paced)
			between := processorTime(b, p.pid)
			count := asFast(b, client, p.url, full)
			if round == 0 {
				continue // warms up
			}
			p.paced = append(p.paced, took...)
			p.cpu += between - before
			p.full = append(p.full, float64(count)/full.Seconds())
			p.fullCPU += processorTime(b, p.pid) - between
			p.fullCount += count
		}
	}
	direct := parties[0]
	for _, p := range parties {
		slices.Sort(p.paced)
		slices.Sort(p.full)
	}
	for _, p := range parties {
		b.ReportMetric(p.full[len(p.full)/2], p.name+"-req/s")
		b.ReportMetric(micros(p.fullCPU)/float64(p.fullCount), p.name+"-cpu-µs/req")
		if p == direct {
			b.ReportMetric(micros(percentile(p.paced, 50)), p.name+"-p50-µs")
			b.ReportMetric(micros(percentile(p.paced, 99)), p.name+"-p99-µs")
			continue
		}
		b.ReportMetric(micros(percentile(p.paced, 50)-percentile(direct.paced, 50)), p.name+"-adds-p50-µs")
		b.ReportMetric(micros(percentile(p.paced, 99)-percentile(direct.paced, 99)), p.name+"-adds-p99-µs")
		b.ReportMetric(micros(p.cpu)/float64(len(p.paced)), p.name+"-cpu-µs/req-paced")
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func percentile(sorted []time.Duration, p int) time.Duration { return sorted[len(sorted)*p/100] }

// queueProxies starts the application and both queue-proxies; the application itself comes first.
func queueProxies(b *testing.B) []*party {
	directory := b.TempDir()
	peer, ours := filepath.Join(directory, "peer"), filepath.Join(directory, "queue-proxy")
	for _, args := range [][]string{{"build", "-o", peer, "./queueproxy"}, {"build", "-C", "../..", "-o", ours, "./cmd/queue-proxy"}} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			b.Fatalf("go %v: %v: %s", args, err, out)
		}
	}
	app, appPID := printed(b, exec.Command(peer, "app"))
	knative, knativePID := printed(b, exec.Command(peer, "knative", app))
	relay, relayPID := printed(b, exec.Command(peer, "relay", app))
	_, port, err := net.SplitHostPort(app)
	if err != nil {
		b.Fatal(err)
	}
	sluice := exec.Command(ours)
	sluice.Env = []string{
		"QUEUE_SERVING_PORT=0", "SLUICE_ADMIN_PORT=0", "SLUICE_METRICS_PORT=0", "SLUICE_LISTEN_HOST=127.0.0.1", "USER_PORT=" + port,
		"CONTAINER_CONCURRENCY=100", "REVISION_TIMEOUT_SECONDS=300", "REVISION_RESPONSE_START_TIMEOUT_SECONDS=60",
		"REVISION_IDLE_TIMEOUT_SECONDS=60",
	}
	address, pid := printed(b, sluice)
	return []*party{
		{name: "direct", url: "http://" + app, pid: appPID},
		{name: "sluice", url: "http://" + address, pid: pid},
		{name: "knative", url: "http://" + knative, pid: knativePID},
		{name: "relay", url: "http://" + relay, pid: relayPID},
	}
}

// printed starts a process and returns the first address that it prints, alone or in a line of its log.
func printed(b *testing.B, command *exec.Cmd) (address string, pid int) {
	b.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer read.Close()
	command.Stdout, command.Stderr = write, write
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	write.Close()
	b.Cleanup(func() {
		_ = command.Process.Kill() // it runs until it is killed
		_ = command.Wait()
	})
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		b.Fatalf("%v printed no address: %v", command.Args, err)
	}
	said := struct{ Address string }{}
	if json.Unmarshal([]byte(line), &said) == nil {
		return said.Address, command.Process.Pid
	}
	return strings.TrimSpace(line), command.Process.Pid
}

// processorTime returns the CPU time of a process in steps of 10 ms, from /proc.
func processorTime(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("no /proc: the processor time cannot be measured here")
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// atRate sends requests at fixed times, even if earlier ones were not answered yet, and returns how long each took.
func atRate(b *testing.B, client *http.Client, url string, rate int, during time.Duration) []time.Duration {
	count := int(during.Seconds() * float64(rate))
	took := make([]time.Duration, count)
	var all sync.WaitGroup
	began := time.Now()
	for i := range count {
		if wait := time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))); wait > 0 {
			time.Sleep(wait)
		}
		all.Go(func() {
			sent := time.Now()
			get(b, client, url)
			took[i] = time.Since(sent)
		})
	}
	all.Wait()
	return took
}

// asFast lets 16 clients send one request after the other, and returns how many were answered.
func asFast(b *testing.B, client *http.Client, url string, during time.Duration) int {
	var all sync.WaitGroup
	counts := make([]int, 16)
	end := time.Now().Add(during)
	for i := range counts {
		all.Go(func() {
			for time.Now().Before(end) {
				get(b, client, url)
				counts[i]++
			}
		})
	}
	all.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

func get(b *testing.B, client *http.Client, url string) {
	response, err := client.Get(url)
	if err != nil {
		b.Error(err)
		return
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		b.Errorf("got %d, %v", response.StatusCode, err)
	}
}
