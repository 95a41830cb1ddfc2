package chaos

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"sluice.dev/sluice/test/realenvoy"
)

var (
	seed       = flag.Uint64("chaos.seed", 0, "the seed of the operations; 0 draws one and prints it")
	operations = flag.Int("chaos.ops", 100, "how many operations")
	rate       = flag.Int("chaos.rate", 200, "requests a second")
	without    = flag.String("chaos.without", "", "a kind of operation to leave out, such as NACK")
	through    = flag.String("chaos.gateway", "", "the gateway: builtin or envoy; by default one run with each")
	forms      = flag.String("chaos.routes", "", "the form of routes: scoped or inline; by default one run with each")
	inKube     = flag.Bool("chaos.cluster", false, "run in the cluster of KUBECONFIG, in which the run installs Sluice")
	logFile    = flag.String("chaos.log", "", "a file for the output of the processes and of the run; none by default")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("2") // runs in parallel, since each loads the machine
	}
	ctrllog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "sluice-chaos-")
	if err != nil {
		panic(err)
	}
	built = dir
	if *logFile != "" {
		if logs, err = os.Create(*logFile); err != nil {
			panic(err)
		}
	}
	if err := buildAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// setting has the parameters of a run.
type setting struct {
	seed            uint64
	gateway, routes string
	envoy           string // path, for the gateway envoy
}

// String returns the flags that repeat the run.
func (s setting) String() string {
	return fmt.Sprintf("-chaos.seed %d -chaos.gateway %s -chaos.routes %s", s.seed, s.gateway, s.routes)
}

func TestChaos(t *testing.T) {
	for _, g := range chosen(t, *through, "builtin", "envoy") {
		for _, r := range chosen(t, *forms, "scoped", "inline") {
			t.Run(g+"/"+r, func(t *testing.T) {
				t.Parallel()
				s := setting{seed: *seed, gateway: g, routes: r}
				if s.seed == 0 {
					s.seed = 1 + rand.Uint64N(1_000_000)
				}
				if g == "envoy" {
					s.envoy = realenvoy.Find(t)
				}
				t.Log(s)
				run(t, s)
			})
		}
	}
}

// chosen returns the one that a flag names, or all if the flag is not set.
func chosen(t *testing.T, flag string, all ...string) []string {
	if flag == "" {
		return all
	}
	if !slices.Contains(all, flag) {
		t.Fatalf("%q is none of %v", flag, all)
	}
	return []string{flag}
}

// calm is how long nothing happens before the final sizes are measured.
const calm = 3 * time.Second

// tooMany failures end a run.
const tooMany = 10

// verdict collects failures.
type verdict struct {
	mu     sync.Mutex
	all    []string
	first  string // operations and logs before the first failure
	stop   chan struct{}
	closed bool
}

func (v *verdict) add(text string, context func() string) {
	logLine("FAILED", text)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.all) == 0 {
		v.first = context()
	}
	v.all = append(v.all, text)
	if len(v.all) == tooMany {
		v.end()
	}
}

// end stops the run.
func (v *verdict) end() {
	if !v.closed {
		close(v.stop)
		v.closed = true
	}
}

func run(t *testing.T, with setting) {
	h, err := newInstallation(t, with)
	if err != nil {
		t.Fatal(err)
	}
	v := &verdict{stop: make(chan struct{})}
	hosts := newHosts(with.seed)
	p := &performer{system: h, hosts: hosts, stop: v.stop, lanes: map[string]chan struct{}{}, slots: make(chan struct{}, atOnce)}
	p.load = newLoad(hosts, h.gateway, *rate, func(f failure) {
		v.add("request: "+f.String(), func() string { return p.recent(20, time.Now()) + "\n" + h.tails(60) })
	})
	p.load.late = func(host string) {
		logLine("LATE", host)
		h.stacks()
	}
	p.fail = func(err error) {
		v.add(err.Error(), func() string { return p.recent(20, time.Now()) + "\n" + h.tails(60) })
		v.mu.Lock()
		defer v.mu.Unlock()
		v.end() // the further operations depend on this one
	}
	if err := h.connected(p); err != nil {
		t.Fatal(err, "\n", h.tails(60))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var loading sync.WaitGroup
	loading.Go(func() { p.load.run(ctx, with.seed) })
	began := time.Now()
	halfway := p.all(t, newPlan(with.seed))
	took := time.Since(began)
	cancel()
	loading.Wait()
	time.Sleep(calm)
	atEnd := h.sizes()
	if err := h.alive(); err != nil {
		v.add(err.Error(), func() string { return p.recent(20, time.Now()) })
	}
	t.Logf("%s: %d operations in %v, %d responses refused; how many of each, how long half of them took, and the longest: %s",
		with, len(p.log), took.Round(time.Second), p.refused, p.longest())
	t.Log(p.load.figures())
	for _, name := range slices.Sorted(maps.Keys(h.peaks)) {
		t.Logf("%-45s at most %6.0f, in the first half %6.0f; at the end %6.0f", name, h.peaks[name], halfway[name], atEnd[name])
	}
	if len(v.all) > 0 {
		h.keepLogs(t)
		t.Errorf("%s:\n%s\n\nbefore the first of them:\n%s", with, strings.Join(v.all[:min(len(v.all), 2*tooMany)], "\n"), v.first)
	}
	if *operations >= enough {
		grown(t, halfway, atEnd)
	}
	h.checkEnvoy(t)
}

// all draws operations and carries them out. It returns the peaks of the first half.
func (p *performer) all(t *testing.T, plan *plan) (halfway map[string]float64) {
	said, measured := time.Now(), time.Now()
	for n := range *operations {
		select {
		case <-p.stop:
			return halfway
		default:
		}
		if o := plan.next(); string(o.kind) != *without {
			p.start(o)
		}
		if n == *operations/2 {
			p.system.sizes()
			halfway = p.system.peaked()
		}
		if time.Since(measured) > time.Second {
			measured = time.Now()
			p.system.sizes()
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			sizes := p.system.sizes()
			t.Logf("%s operation %d: %s; up %.0f MiB, gateway %.0f MiB", said.Format(clock), n, p.load.figures(),
				sizes["up process_resident_memory_bytes"], sizes["gateway process_resident_memory_bytes"])
		}
	}
	p.running.Wait()
	return halfway
}

// enough is the number of operations from which on each half of a run has every kind. In a shorter run only the second half may have a
// burst, whose connections are kept for a minute.
const enough = 1000

// grown fails the test if a process seems to grow without bound: at rest after the run it is much larger than its peak in the first half.
// Sizes at two moments cannot be compared, since one may be calm and the other right after a restart.
func grown(t *testing.T, halfway, atEnd map[string]float64) {
	for name, peak := range halfway {
		now := atEnd[name]
		if strings.HasSuffix(name, "memory_bytes") && now > 1.5*peak+100 || strings.HasSuffix(name, "goroutines") && now > 1.5*peak+1000 {
			t.Errorf("%s was at most %.0f during half of the operations and is %.0f after all", name, peak, now)
		}
	}
}
