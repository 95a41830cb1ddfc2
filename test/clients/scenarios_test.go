package clients

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// work is one scenario with one client.
type work struct {
	*instance
	t      *testing.T
	client foreign
	caller caller
	name   string // of the service, and of its host
}

// scenarios are run with each client in this order. Each makes a service of its own.
var scenarios = []struct {
	name string
	run  func(*work)
}{
	{"split", (*work).split},
	{"burst", (*work).splitByActivators},
	{"change", (*work).changeOfSplit},
	{"tag", (*work).tagHost},
	{"takeover", (*work).takeover},
	{"sleep", (*work).wake},
	{"health", (*work).lossOfReplica},
	{"removal", (*work).removal},
	{"reconnect", (*work).reconnect},
	{"restart", (*work).restart},
}

func TestClients(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			gateway := "builtin"
			if f.proxy {
				gateway = "none"
			}
			routes := model.Scoped
			if f.inline {
				routes = model.Inline
			}
			s := up(t, gateway, routes)
			c := f.start(t, s.xds, s.gateway)
			for _, scenario := range scenarios {
				t.Run(scenario.name, func(t *testing.T) {
					if why, ok := f.cannot[scenario.name]; ok {
						t.Skipf("skipped: %s cannot: %s", f.name, why)
					}
					s.t = t
					defer func() { s.t = nil }()
					began := time.Now()
					scenario.run(&work{instance: s, t: t, client: f, caller: c, name: scenario.name})
					t.Logf("%s: %v", scenario.name, time.Since(began).Round(time.Millisecond))
					if out := s.cmd.printed(); strings.Contains(out, "client refuses") {
						t.Errorf("the client refused something:\n%s", last(out, 4<<10))
					}
				})
			}
		})
	}
}

func (w *work) host() string { return w.name + ".default.localhost" }

func (w *work) one() string { return w.name + "-one" }

func (w *work) two() string { return w.name + "-two" }

// template makes a Service's template that of a revision.
func (w *work) template(o *servingv1.Service, revision string, annotations ...string) {
	o.Spec.Template = servingv1.RevisionTemplate{}
	o.Spec.Template.Metadata.Name = revision
	o.Spec.Template.Metadata.Annotations = map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		o.Spec.Template.Metadata.Annotations[annotations[i]] = annotations[i+1]
	}
	o.Spec.Template.Spec.Containers = []servingv1.Container{{
		Image: "sluice.local/sample", Command: []string{"sluice", "sample"},
		Ports: []servingv1.ContainerPort{{Name: w.client.port, ContainerPort: 8080}},
	}}
}

// Annotations of revisions.
const (
	minScale     = "autoscaling.knative.dev/min-scale"
	initialScale = "autoscaling.knative.dev/initial-scale"
	// burst is the target burst capacity. With less spare capacity, calls go to the activators, which draw the split again for
	// proxyless clients (docs/decisions/0009). With 0 calls go to the replicas while there are any.
	burst = "autoscaling.knative.dev/target-burst-capacity"
)

// awake are the annotations of revisions that have replicas and whose calls bypass the activators.
func (w *work) awake(scale string) []string {
	if w.client.burst != "" {
		return []string{minScale, scale, burst, w.client.burst}
	}
	return []string{minScale, scale, burst, "0"}
}

// deploy makes the service, with its first revision.
func (w *work) deploy(annotations ...string) {
	w.t.Helper()
	o := &servingv1.Service{}
	o.Namespace, o.Name = "default", w.name
	w.template(o, w.one(), annotations...)
	if err := w.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
	w.ready(w.name)
}

// deployBoth makes the service with two revisions; one is the first one's share in percent.
func (w *work) deployBoth(share int64, annotations ...string) {
	w.t.Helper()
	if annotations == nil {
		annotations = w.awake("1")
	}
	w.deploy(annotations...)
	w.change(w.name, func(o *servingv1.Service) {
		w.template(o, w.two(), annotations...)
		w.shares(o, share)
	})
	w.ready(w.name)
	if annotations[len(annotations)-1] == "0" {
		w.direct(w.one())
		w.direct(w.two())
	}
}

// direct waits until calls to a revision go to its replicas.
func (w *work) direct(revision string) {
	w.t.Helper()
	want := fmt.Sprintf("sluice_autoscaler_by_activator{namespace=\"default\",revision=%q} 0\n", revision)
	eventually(w.t, revision+" has activators only beneath its replicas", func() error {
		response, err := http.Get("http://" + w.admin + "/metrics")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && !strings.Contains(string(body), want) {
			err = fmt.Errorf("not in /metrics: %s", want)
		}
		return err
	})
}

func (w *work) shares(o *servingv1.Service, one int64) {
	target := func(revision, tag string, percent int64) servingv1.TrafficTarget {
		return servingv1.TrafficTarget{RevisionName: revision, Tag: tag, Percent: &percent, LatestRevision: new(false)}
	}
	o.Spec.Traffic = servingv1.Traffic{target(w.one(), "", one), target(w.two(), "two", 100-one)}
}

// moveTo changes the first revision's share.
func (w *work) moveTo(one int64) {
	w.t.Helper()
	w.change(w.name, func(o *servingv1.Service) { w.shares(o, one) })
}

// answers waits until a batch of calls has no error, since other processes may not have the newest configuration yet.
func (w *work) answers() {
	w.t.Helper()
	eventually(w.t, w.host()+" answers", func() error {
		if got := w.caller.call(w.t, w.host(), 5); got.answered() != 5 {
			return fmt.Errorf("calls ended %v", got.Errors)
		}
		return nil
	})
}

// seesShare checks over many calls that the first revision has its share of them.
func (w *work) seesShare(one float64) {
	w.t.Helper()
	const calls = 1000
	got := w.caller.call(w.t, w.host(), calls)
	if got.answered() != calls {
		w.t.Errorf("%d of %d calls failed: %v", calls-got.answered(), calls, got.Errors)
	}
	// Four standard deviations of 1,000 draws are at most 6.3 percent.
	if share := 100 * float64(got.by(w.one())) / calls; math.Abs(share-one) > 6.5 {
		w.t.Errorf("%.1f percent of %d calls went to %s, want %v: %v", share, calls, w.one(), one, got.Answers)
	}
}

// approaches waits until the first revision's share of recent calls is near a value.
func (w *work) approaches(one float64) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("about %v percent go to %s", one, w.one()), func() error {
		got := w.caller.call(w.t, w.host(), 200)
		if share := float64(got.by(w.one())) / 2; math.Abs(share-one) > 15 {
			return fmt.Errorf("%.1f percent: %v, %v", share, got.Answers, got.Errors)
		}
		return nil
	})
}

// undisturbed stops calls that were running meanwhile: none may have failed.
func (w *work) undisturbed(calls *stream) {
	w.t.Helper()
	sum := calls.stop()
	if n := sum.failed(w.client.own); n > 0 || sum.answered() == 0 {
		w.t.Errorf("%d calls failed and %d were answered meanwhile: %v", n, sum.answered(), sum.Errors)
	}
}

func (w *work) split() {
	w.deployBoth(70)
	w.answers()
	w.approaches(70)
	w.seesShare(70)
}

// splitByActivators splits calls between revisions, and all of them pass through the activators.
func (w *work) splitByActivators() {
	w.deployBoth(70, minScale, "1", burst, "-1")
	w.answers()
	w.approaches(70)
	w.seesShare(70)
}

func (w *work) changeOfSplit() {
	w.deployBoth(80)
	w.answers()
	w.approaches(80)
	calls := pour(w.t, w.caller, w.host())
	for _, share := range []int64{20, 70, 0, 100, 30} {
		w.moveTo(share)
		w.approaches(float64(share))
	}
	w.undisturbed(calls)
	w.seesShare(30)
}

func (w *work) tagHost() {
	w.deployBoth(100)
	w.answers()
	eventually(w.t, "the tag's host answers", func() error {
		got := w.caller.call(w.t, "two-"+w.host(), 5)
		if got.answered() != 5 {
			return fmt.Errorf("calls ended %v", got.Errors)
		}
		return nil
	})
	if got := w.caller.call(w.t, "two-"+w.host(), 100); got.by(w.two()) != 100 {
		w.t.Errorf("of 100 calls to the tag's host %d were answered by %s: %v, %v", got.by(w.two()), w.two(), got.Answers, got.Errors)
	}
	if got := w.caller.call(w.t, w.host(), 100); got.by(w.one()) != 100 {
		w.t.Errorf("of 100 calls to the service's host %d were answered by %s: %v, %v", got.by(w.one()), w.one(), got.Answers, got.Errors)
	}
}

func (w *work) takeover() {
	w.deploy(w.awake("1")...)
	w.answers()
	calls := pour(w.t, w.caller, w.host())
	revision := w.one()
	for _, next := range []string{w.two(), w.name + "-three"} {
		w.change(w.name, func(o *servingv1.Service) { w.template(o, next, w.awake("1")...) })
		eventually(w.t, "all calls go to "+next, func() error {
			if got := w.caller.call(w.t, w.host(), 20); got.by(next) != 20 {
				return fmt.Errorf("%v, %v", got.Answers, got.Errors)
			}
			return nil
		})
		revision = next
	}
	w.ready(w.name)
	w.undisturbed(calls)
	if got := w.caller.call(w.t, w.host(), 100); got.by(revision) != 100 {
		w.t.Errorf("%d of 100 calls were answered by the last revision: %v, %v", got.by(revision), got.Answers, got.Errors)
	}
}

// wake calls a revision at zero: the activator holds the call, and calls bypass it when the replica is ready.
func (w *work) wake() {
	w.deploy(initialScale, "0")
	if pids := w.replicas(w.one()); len(pids) != 0 {
		w.t.Fatalf("a revision at zero has processes %v", pids)
	}
	w.answers() // a client without the host's configuration fails the first calls
	if len(w.replicas(w.one())) == 0 {
		w.t.Error("calls were answered, but no process runs")
	}
	calls := pour(w.t, w.caller, w.host())
	w.ready(w.name)
	for range 50 { // during the change from the activator to the replica, which follows the first answer
		w.answers()
	}
	w.undisturbed(calls)
}

// lossOfReplica kills one of two processes: the calls that follow are answered by the other.
func (w *work) lossOfReplica() {
	w.deploy(w.awake("2")...)
	eventually(w.t, "two replicas run", func() error {
		if pids := w.replicas(w.one()); len(pids) != 2 {
			return fmt.Errorf("%d run", len(pids))
		}
		return nil
	})
	w.answers()
	before := w.replicas(w.one())
	if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the process has ended", func() error { // so that no call can have reached it
		// A process keeps its connections until all of its threads have ended.
		if err := syscall.Kill(before[0], 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d exists", before[0])
		}
		return nil
	})
	got := w.caller.call(w.t, w.host(), 200)
	// A proxy retries calls that were not sent. Calls of a proxyless client fail until it is notified of the loss, and so do those of a
	// proxy that may retry at the lost replica.
	failed, most := 200-got.answered(), 5
	if w.client.proxy && !w.client.redraws {
		most = 0
	}
	if failed > most {
		w.t.Errorf("%d of 200 calls failed after the loss of a replica, want %d at most: %v", failed, most, got.Errors)
	}
	w.t.Logf("%d of 200 calls failed: %v", failed, got.Errors)
}

// removal deletes the service: calls fail with a clear error.
func (w *work) removal() {
	w.deploy(w.awake("1")...)
	w.answers()
	if err := w.Delete(w.t.Context(), w.service(w.name)); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "calls fail with a clear status", func() error {
		got := w.caller.call(w.t, w.host(), 10)
		clear := 0
		for text, n := range got.Errors {
			if w.client.gone.MatchString(text) {
				clear += n
			}
		}
		if clear != 10 {
			return fmt.Errorf("of 10 calls %d were answered, and these failed: %v", got.answered(), got.Errors)
		}
		return nil
	})
}

// reconnect cuts the client's connection to a server that runs. Calls go on with the configuration that the client has, and it
// receives the changes when it is connected again.
func (w *work) reconnect() {
	w.deployBoth(80)
	w.answers()
	w.approaches(80)
	calls := pour(w.t, w.caller, w.host())
	w.relay.Cut()
	w.moveTo(10)
	w.seesShare(80)
	w.relay.Restore()
	w.approaches(10)
	w.undisturbed(calls)
	w.ready(w.name)
	w.seesShare(10)
}

// restart kills Sluice, and with it the replicas. The client reconnects by itself.
func (w *work) restart() {
	w.deployBoth(80)
	w.answers()
	w.approaches(80)
	w.cmd.kill()
	if got := w.caller.call(w.t, w.host(), 3); got.answered() != 0 {
		w.t.Errorf("nothing runs, but calls were answered: %v", got.Answers)
	}
	w.start()
	w.answers()
	w.seesShare(80)
	w.moveTo(20)
	w.approaches(20)
	w.seesShare(20)
}
