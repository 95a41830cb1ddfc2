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
	seed       = flag.Uint64("chaos.seed", 0, "what the operations follow from; 0 draws one and prints it")
	operations = flag.Int("chaos.ops", 100, "how many operations")
	rate       = flag.Int("chaos.rate", 200, "requests a second")
	without    = flag.String("chaos.without", "", "a kind of operation to leave out, such as NACK, to look for what else fails")
	through    = flag.String("chaos.gateway", "", "the gateway: builtin or envoy; by default one run with each")
	forms      = flag.String("chaos.routes", "", "the form of routes: scoped or inline; by default one run with each")
	logFile    = flag.String("chaos.log", "", "file for all that the processes and the run say; none by default")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("2") // runs at a time: each is a load
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

// setting is what a run is made with.
type setting struct {
	seed            uint64
	gateway, routes string
	envoy           string // path, for the gateway envoy
}

// String is how to make the run again.
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

// chosen is the one that a flag names, or all without it.
func chosen(t *testing.T, flag string, all ...string) []string {
	if flag == "" {
		return all
	}
	if !slices.Contains(all, flag) {
		t.Fatalf("%q is none of %v", flag, all)
	}
	return []string{flag}
}

// calm is how long everything is left alone before it is looked at what it has grown to.
const calm = 3 * time.Second

// tooMany failures end a run.
const tooMany = 10

// verdict gathers what failed.
type verdict struct {
	mu     sync.Mutex
	all    []string
	first  string // what was going on at the first failure
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
	h, err := newHouse(t, with)
	if err != nil {
		t.Fatal(err)
	}
	v := &verdict{stop: make(chan struct{})}
	hosts := newHosts(with.seed)
	p := &performer{house: h, hosts: hosts, stop: v.stop, lanes: map[string]chan struct{}{}, slots: make(chan struct{}, atOnce)}
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
		v.end() // what is planned next would build on what did not happen
	}
	if err := p.connected(); err != nil {
		t.Fatal(err, "\n", h.tails(60))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var loading sync.WaitGroup
	loading.Go(func() { p.load.run(ctx, with.seed) })
	began := time.Now()
	halfway := p.all(t, with.seed)
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
	h.contented(t)
}

// all draws operations and carries them out. It returns the peaks of the first half.
func (p *performer) all(t *testing.T, seed uint64) (halfway map[string]float64) {
	plan := newPlan(seed)
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
			p.house.sizes()
			halfway = maps.Clone(p.house.peaks)
		}
		if time.Since(measured) > time.Second {
			measured = time.Now()
			p.house.sizes()
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			sizes := p.house.sizes()
			t.Logf("%s operation %d: %s; up %.0f MiB, gateway %.0f MiB", said.Format(clock), n, p.load.figures(), sizes["up process_resident_memory_bytes"], sizes["gateway process_resident_memory_bytes"])
		}
	}
	p.running.Wait()
	return halfway
}

// enough operations are so many that each half of them has all that may happen. In a shorter run the second half may be the first with
// a burst, the connections of which are kept for a minute.
const enough = 1000

// grown fails the test when a process has grown without a bound, as far as one run can tell: at rest it has much more than it ever
// had in the first half, with all that was held then. Moments cannot be compared, for one may be calm and the other after a restart.
func grown(t *testing.T, halfway, atEnd map[string]float64) {
	for name, peak := range halfway {
		now := atEnd[name]
		if strings.HasSuffix(name, "memory_bytes") && now > 1.5*peak+100 || strings.HasSuffix(name, "goroutines") && now > 1.5*peak+1000 {
			t.Errorf("%s was at most %.0f during half of the operations and is %.0f after all", name, peak, now)
		}
	}
}
