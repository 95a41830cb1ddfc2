package feature

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/autoscaler/scrape"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
)

const autoscaling = servingv1.AutoscalingGroup + "/"

func TestWrongScalingAnnotationsAreRefusedWithKnativesSentence(t *testing.T) {
	t.Parallel()
	s := up(t, "-f", absolute(t, "examples/hello"), "--config", configFile(t, "max-scale: 10\nmax-scale-limit: 50\n"))
	s.ready("hello")
	for _, c := range []struct{ annotation, value, want string }{
		{"class", "none.autoscaling.knative.dev", "invalid value: none.autoscaling.knative.dev: autoscaling.knative.dev/class"},
		{"metric", "cpu", "invalid value: cpu: autoscaling.knative.dev/metric"},
		{"metric", "", "invalid value: : autoscaling.knative.dev/metric"},
		{"target", "0", "target 0 should be at least 0.01: autoscaling.knative.dev/target"},
		{"target", "ten", "invalid value: ten: autoscaling.knative.dev/target"},
		{"target-utilization-percentage", "0.5", "expected 1 <= 0.5 <= 100: autoscaling.knative.dev/target-utilization-percentage"},
		{"targetUtilizationPercentage", "70%", "invalid value: 70%: autoscaling.knative.dev/targetUtilizationPercentage"},
		{"min-scale", "-1", "expected 0 <= -1 <= 2147483647: autoscaling.knative.dev/min-scale"},
		{"minScale", "few", "invalid value: few: autoscaling.knative.dev/minScale"},
		{"max-scale", "1.5", "invalid value: 1.5: autoscaling.knative.dev/max-scale"},
		{"max-scale", "51", "expected 1 <= 51 <= 50: autoscaling.knative.dev/max-scale"},
		{"max-scale", "0", "max-scale=0 (unlimited), must be less than 50: autoscaling.knative.dev/max-scale"},
		{"initial-scale", "0", "invalid value: 0: autoscaling.knative.dev/initial-scale=0 not allowed by cluster"},
		{"initial-scale", "-2", "invalid value: -2: autoscaling.knative.dev/initial-scale must be greater than 0"},
		{"activation-scale", "1", "activation-scale=1 must be greater than 1: autoscaling.knative.dev/activation-scale"},
		{"scale-down-delay", "2h", "expected 0s <= 2h <= 1h0m0s: autoscaling.knative.dev/scale-down-delay"},
		{"scale-down-delay", "1500ms", "must be specified with at most second precision: autoscaling.knative.dev/scale-down-delay"},
		{"scale-to-zero-pod-retention-period", "60", "invalid value: 60: autoscaling.knative.dev/scale-to-zero-pod-retention-period"},
		{"window", "5s", "expected 6s <= 5s <= 1h0m0s: autoscaling.knative.dev/window"},
		{"window", "soon", "invalid value: soon: autoscaling.knative.dev/window"},
		{"panic-window-percentage", "101", "expected 1 <= 101 <= 100: autoscaling.knative.dev/panic-window-percentage"},
		{"panic-threshold-percentage", "109", "expected 110 <= 109 <= 1000: autoscaling.knative.dev/panic-threshold-percentage"},
		{"target-burst-capacity", "-2", "invalid value: -2: autoscaling.knative.dev/target-burst-capacity"},
		{"target-burst-capacity", "lots", "invalid value: lots: autoscaling.knative.dev/target-burst-capacity"},
		{"metric-aggregation-algorithm", "median", "invalid value: median: autoscaling.knative.dev/metric-aggregation-algorithm"},
		{servingv1.MetricsSourceAnnotation, "prometheus",
			`annotation sluice.dev/metrics-source is "prometheus", want queue-proxy or envoy`},
		{servingv1.StreamDrainAnnotation, "3601",
			`annotation sluice.dev/stream-drain-seconds is "3601", want a whole number of seconds from 0 to 3600`},
		{servingv1.StreamDrainAnnotation, "5s",
			`annotation sluice.dev/stream-drain-seconds is "5s", want a whole number of seconds from 0 to 3600`},
	} {
		o := newService("bad", "sluice", "sample")
		key := c.annotation
		if !strings.Contains(key, "/") {
			key = autoscaling + key
		}
		o.Spec.Template.Metadata.Annotations = map[string]string{key: c.value}
		if c.annotation == "metric-aggregation-algorithm" { // another class may have other algorithms
			o.Spec.Template.Metadata.Annotations[autoscaling+"class"] = "kpa.autoscaling.knative.dev"
		}
		if err := s.Create(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: got %v, want an error with %q", key, c.value, err, c.want)
		}
	}
	s.undisturbed()
}

func TestWrongConfigurationOfTheAutoscalerNamesFileAndKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"stable-window: soon\n":                                            `stable-window is "soon"`,
		"stable-window: 1s\n":                                              "stable-window",
		"stable-window: 6500ms\n":                                          "stable-window",
		"max-scale-up-rate: 1\n":                                           "max-scale-up-rate",
		"max-scale-down-rate: 0.5\n":                                       "max-scale-down-rate",
		"container-concurrency-target-percentage: 101\n":                   "container-concurrency-target-percentage",
		"container-concurrency-target-default: 0\n":                        "container-concurrency-target-default",
		"requests-per-second-target-default: none\n":                       "requests-per-second-target-default",
		"target-burst-capacity: -2\n":                                      "target-burst-capacity",
		"panic-window-percentage: 0\n":                                     "panic-window-percentage",
		"panic-threshold-percentage: many\n":                               "panic-threshold-percentage",
		"scale-to-zero-grace-period: 0s\n":                                 "scale-to-zero-grace-period",
		"scale-to-zero-pod-retention-period: -1s\n":                        "scale-to-zero-pod-retention-period",
		"scale-down-delay: -1s\n":                                          "scale-down-delay",
		"activator-capacity: 0\n":                                          "activator-capacity",
		"initial-scale: 0\n":                                               "initial-scale",
		"min-scale: 5\nmax-scale: 2\n":                                     "min-scale",
		"max-scale-limit: 5\n":                                             "max-scale",
		"max-scale: [1]\n":                                                 `"max-scale"`,
		"kind: ConfigMap\ndata: {max-scale: 10}\n":                         `"max-scale" is 10, and a ConfigMap holds strings`,
		"kind: Secret\n":                                                   "Secret",
		"- a list\n":                                                       "not YAML",
		"kind: ConfigMap\ndata: {enable-scale-to-zero: \"unless needed\"}": "enable-scale-to-zero",
	} {
		path := configFile(t, text)
		if out := refused(t, t.TempDir(), "up", "--config", path); !strings.Contains(out, want) || !strings.Contains(out, path) ||
			!strings.Contains(out, "--config") {
			t.Errorf("%q: it prints %q, want %q and the file in it", text, out, want)
		}
	}
	if out := refused(t, t.TempDir(), "up", "--config", "absent.yaml"); !strings.Contains(out, "absent.yaml") {
		t.Errorf("with a missing file it prints %q", out)
	}
}

// ask sends one GET and returns the response with its body read.
func (s *instance) ask(host string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+s.gateway+"/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Host = host
	response, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		s.t.Fatal(err)
	}
	return response, strings.TrimSpace(string(body))
}

// wantRefusal sends a request. The response must have a status, a reason, and words in its sentence.
func (s *instance) wantRefusal(host string, status int, reason string, words ...string) *http.Response {
	t := s.t
	t.Helper()
	response, body := s.ask(host)
	if response.StatusCode != status || response.Header.Get("Sluice-Reason") != reason {
		t.Errorf("status %d with reason %q, want %d with %q: %s",
			response.StatusCode, response.Header.Get("Sluice-Reason"), status, reason, body)
	}
	for _, word := range words {
		if !strings.Contains(body, word) {
			t.Errorf("it says %q, want %q in it", body, word)
		}
	}
	return response
}

func TestReplicaThatNeverAnswersIsTimedOut(t *testing.T) {
	onEachGateway(t, replicaThatNeverAnswersIsTimedOut)
}

func replicaThatNeverAnswersIsTimedOut(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	for _, burst := range []string{"0", "-1"} {
		name := "deaf" + strings.TrimPrefix(burst, "-")
		deaf := newApp(t, name, map[string]string{autoscaling + "target-burst-capacity": burst}, "DEAF", "yes")
		deaf.Spec.Template.Spec.TimeoutSeconds = new(int64(1))
		s.create(deaf) // it accepts connections, so its probe succeeds
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				response, body := s.ask(name + ".default.localhost")
				if response.StatusCode != http.StatusGatewayTimeout || !strings.Contains(body, "timeout") {
					t.Errorf("%s: status %d: %s", name, response.StatusCode, body)
				}
			})
		}
		for range 20 {
			s.undisturbed()
		}
		group.Wait()
	}
}

func TestReplicaThatNeverBecomesReadyIsReported(t *testing.T) {
	onEachGateway(t, replicaThatNeverBecomesReadyIsReported)
}

func replicaThatNeverBecomesReadyIsReported(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"), "--config", zeroInitialScale(t))
	s.ready("hello")
	deaf := newApp(t, "deaf", map[string]string{autoscaling + "initial-scale": "0"}, "DEAF", "yes")
	deaf.Spec.Template.Spec.TimeoutSeconds = new(int64(2))
	deaf.Spec.Template.Spec.Containers[0].ReadinessProbe = &servingv1.Probe{}
	deaf.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet = &servingv1.HTTPGetAction{Path: "/"}
	s.create(deaf)
	s.wantRefusal("deaf.default.localhost", http.StatusGatewayTimeout, "RequestTimeout", "timeout")
	s.undisturbed()
}

func TestWaitingRequestsGetTheFailureOfARevisionThatExitsAtOnce(t *testing.T) {
	onEachGateway(t, waitingRequestsGetTheFailureOfARevisionThatExitsAtOnce)
}

func waitingRequestsGetTheFailureOfARevisionThatExitsAtOnce(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"), "--config", zeroInitialScale(t))
	s.ready("hello")
	zero := map[string]string{autoscaling + "initial-scale": "0"}
	s.create(newApp(t, "exits", zero, "EXIT", "7"))
	response := s.wantRefusal("exits.default.localhost", http.StatusServiceUnavailable, "RevisionFailed", "exit code 7",
		"ending at once, as configured")
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After is %q", response.Header.Get("Retry-After"))
	}
	eventually(t, "the revision's status reports it", func() error {
		if c := s.revision("exits-00001").Status.Condition("Ready"); c == nil || !strings.Contains(c.Message, "exit code 7") {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
	s.undisturbed()
	s.change("exits", func(o *servingv1.Service) { o.Spec.Template.Spec.Containers[0].Env = nil })
	s.ready("exits")
	if response, body := s.ask("exits.default.localhost"); response.StatusCode != http.StatusOK || body != "exits-00002" {
		t.Errorf("after the repair: status %d: %s", response.StatusCode, body)
	}
}

func TestProgramThatIsGoneWhenItsRevisionWakes(t *testing.T) {
	onEachGateway(t, programThatIsGoneWhenItsRevisionWakes)
}

func programThatIsGoneWhenItsRevisionWakes(t *testing.T, g gateway) {
	source, err := buildApp()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "app")
	copyFile(t, source, program)
	s := g.up(t, "-f", absolute(t, "examples/hello"), "--config", configFile(t, "scale-to-zero-grace-period: 1s\n"))
	s.ready("hello")
	o := newApp(t, "sleeper", map[string]string{autoscaling + "window": "6s"})
	o.Spec.Template.Spec.Containers[0].Command = []string{program}
	s.create(o)
	s.scaledTo("sleeper-00001", 0)
	if err := os.Rename(program, program+".away"); err != nil {
		t.Fatal(err)
	}
	s.wantRefusal("sleeper.default.localhost", http.StatusServiceUnavailable, "RevisionFailed", program)
	s.undisturbed()
	if err := os.Rename(program+".away", program); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next requests wake it", func() error {
		if response, body := s.ask("sleeper.default.localhost"); response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %s", response.StatusCode, body)
		}
		return nil
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// throng sends many requests at once over shared connections, and counts the responses by status and reason.
type throng struct {
	group  sync.WaitGroup
	mu     sync.Mutex
	counts map[string]int
}

func (c *throng) count(outcome string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[outcome]
}

func newThrong(ctx context.Context, address, host string, n int) *throng {
	const sharing = 100
	c := &throng{counts: map[string]int{}}
	name, _, _ := strings.Cut(host, ".")
	for range (n + sharing - 1) / sharing {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols, IdleConnTimeout: time.Second}}
		for range min(sharing, n) {
			c.group.Go(func() {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
				if err != nil {
					panic(err)
				}
				request.Host = host
				request.Header.Set("Knative-Serving-Namespace", "default") // as a gateway does, for an activator
				request.Header.Set("Knative-Serving-Revision", name+"-00001")
				response, err := client.Do(request)
				outcome := fmt.Sprint(err)
				if err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					outcome = strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", response.Header.Get("Sluice-Reason"),
						response.Header.Get("X-Envoy-Response-Flags")))
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				c.counts[outcome]++
			})
		}
	}
	return c
}

func TestQueueThatFillsRefusesTheSurplusAlone(t *testing.T) {
	onEachGateway(t, queueThatFillsRefusesTheSurplusAlone)
}

func queueThatFillsRefusesTheSurplusAlone(t *testing.T, g gateway) {
	activator := address.Free(t)
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	// An activator process can hold as many requests as Knative's. The process of `sluice up` has too few descriptors for that.
	process := startActivator(t, s.socket(), activator).ready()
	s.ready("hello")
	direct := newApp(t, "direct", map[string]string{autoscaling + "target-burst-capacity": "0", autoscaling + "max-scale": "1"}, "MS", "20",
		"LIMIT", "1")
	direct.Spec.Template.Spec.ContainerConcurrency = new(int64(1))
	held := newApp(t, "held", map[string]string{autoscaling + "target-burst-capacity": "-1", autoscaling + "max-scale": "1"}, "MS", "60000")
	held.Spec.Template.Spec.ContainerConcurrency, held.Spec.Template.Spec.TimeoutSeconds = new(int64(1)), new(int64(120))
	s.create(direct, held)
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if s.undisturbed(); t.Failed() {
					return
				}
			}
		}
	})
	// One request runs and ten wait, as in Knative. When these are served, some late requests get their places. Until the gateway
	// has the replica's endpoint, the activator holds all requests.
	var got *throng
	eventually(t, "11 or a few more are served, and the others refused", func() error {
		got = newThrong(t.Context(), s.gateway, "direct.default.localhost", 200)
		got.group.Wait()
		if served, full := got.count("200"), got.count("503 QueueFull"); served < 11 || full == 0 || served+full != 200 {
			return fmt.Errorf("%v", got.counts)
		}
		return nil
	})
	// One request runs and ten thousand wait. They share connections, since a process may have only so many.
	ctx, cancel := context.WithCancel(t.Context())
	got = newThrong(ctx, activator, "held.default.localhost", 10_500)
	eventually(t, "ten thousand wait, and the others are refused", func() error {
		metrics, err := process.read(t.Context(), "/metrics")
		if full := got.count("503 QueueFull"); err != nil || full < 499 || full > 500 ||
			!strings.Contains(metrics, `queue_depth{namespace_name="default",revision_name="held-00001"} 10000`) {
			return fmt.Errorf("%d are refused: %w", full, err)
		}
		return nil
	})
	close(stop)
	others.Wait()
	cancel()
	got.group.Wait()
}

// hostile are metrics endpoints with which a careless autoscaler would hang, crash or scale down.
var hostile = map[string]http.HandlerFunc{
	"hangs":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"garbage":   page("\x00\xff{]"),
	"empty":     page(""),
	"not found": http.NotFound,
	"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	"negative":  lies("-5"),
	"NaN":       lies("NaN"),
	"infinite":  lies("+Inf"),
	"gigabyte": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", queueproxy.MetricsContentType)
		line := bytes.Repeat([]byte("x"), 1<<16)
		for sent := 0; sent < 1<<30 && r.Context().Err() == nil; sent += len(line) {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	},
	"drips": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", queueproxy.MetricsContentType)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "#")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	},
	"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
}

func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", queueproxy.MetricsContentType)
		_, _ = io.WriteString(w, text)
	}
}

// lies returns a queue-proxy's page in which every figure is the same.
func lies(figure string) http.HandlerFunc {
	honest := httptest.NewRecorder()
	queueproxy.New(queueproxy.Options{Target: "127.0.0.1:1"}).Metrics().ServeHTTP(honest,
		httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var text strings.Builder
	for line := range strings.Lines(honest.Body.String()) {
		if name, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") {
			line = name + " " + figure + "\n"
		}
		text.WriteString(line)
	}
	return page(text.String())
}

// TestHostileMetricsScaleNothingDown runs the loop and the scraper of `sluice up` with revisions of three replicas each: one without
// load, which scales to zero, and others whose metrics are invalid.
func TestHostileMetricsScaleNothingDown(t *testing.T) {
	t.Parallel()
	const window = 6 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	decisions := map[string]model.Decision{}
	scraper := scrape.New(scrape.Options{Timeout: time.Second})
	var l *loop.Loop
	l = loop.New(loop.Options{Scrape: scraper.Scrape, Decided: func(key model.Key, _ string, d model.Decision) {
		mu.Lock()
		defer mu.Unlock()
		decisions[key.Name] = d
		l.Backed(key, true)
	}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	var scrapes atomic.Int64
	add := func(name string, handler http.HandlerFunc) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			scrapes.Add(1)
			handler(w, r)
		}))
		t.Cleanup(server.Close)
		key := model.Key{Namespace: "default", Name: name}
		l.Set(model.Scaled{
			Revision: key, UID: name,
			Annotations: map[string]string{autoscaling + "window": window.String(), autoscaling + "target-burst-capacity": "0"},
			Before:      model.Before{Replicas: 3, Active: model.True, Since: time.Now().Add(-time.Hour), Initialized: true},
		})
		replicas := make([]model.Scrape, 3)
		for i := range replicas {
			replicas[i] = model.Scrape{URL: fmt.Sprintf("%s/%d", server.URL, i), Since: time.Now().Add(-time.Hour)}
		}
		l.Running(model.WorkloadStatus{Revision: key, UID: name, Ready: make([]model.Endpoint, 3), Metrics: replicas})
	}
	idle := queueproxy.New(queueproxy.Options{Target: "127.0.0.1:1"})
	add("idle", idle.Metrics().ServeHTTP)
	for name, handler := range hostile {
		add(name, handler)
	}
	replicasOf := func(name string) int {
		mu.Lock()
		defer mu.Unlock()
		if d, ok := decisions[name]; ok {
			return d.Replicas
		}
		return 3
	}
	// The one with valid metrics scales down in time, although the others do not answer properly.
	eventually(t, "the revision without load scales to zero", func() error {
		if n := replicasOf("idle"); n > 1 {
			return fmt.Errorf("%d replicas", n)
		}
		return nil
	})
	for name := range hostile {
		if n := replicasOf(name); n < 3 {
			t.Errorf("%s: %d replicas, want the 3 that run", name, n)
		}
	}
	cancel()
	<-done
	scraper.Wait()
	scraper.Close()
	t.Logf("%d scrapes", scrapes.Load())
}
