// Command oracle runs Knative's autoscaler with synthetic time and synthetic load and writes its decisions to files. With them the
// tests of package autoscaler compare every tick without Knative.
//
// It is a module of its own, so that Sluice does not depend on Knative. Run `go run . ../../autoscaler/testdata` after adding a
// trace; the files are reviewed like code.
package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	asconfig "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/autoscaler/scaling"
	"knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
	asresources "knative.dev/serving/pkg/reconciler/autoscaling/resources"
)

// period is the time between two decisions in seconds, as in Knative.
const period = 2

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: oracle DIRECTORY: where the golden files go, such as ../../autoscaler/testdata")
	}
	for _, t := range traces() {
		text, err := run(t)
		if err != nil {
			log.Fatalf("running trace %s: %v", t.name, err)
		}
		if err := os.WriteFile(filepath.Join(os.Args[1], t.name+".trace"), []byte(text), 0o644); err != nil {
			log.Fatalf("writing trace %s: %v", t.name, err)
		}
	}
	if err := writeSentences(filepath.Join(os.Args[1], "sentences.txt")); err != nil {
		log.Fatalf("writing Knative's error messages: %v", err)
	}
}

// pods counts the ready replicas of a revision whose replicas take startup seconds to become ready.
type pods struct{ ready int }

func (p *pods) ReadyCount() (int, error)    { return p.ready, nil }
func (p *pods) NotReadyCount() (int, error) { return 0, nil }

// legend begins each golden file.
const legend = `# A revision under load, and what Knative's autoscaler decided; written by test/oracle.
#
# config, annotation     keys of config-autoscaler and annotations of the revision; defaults are left out
# container-concurrency  requests that a replica takes at a time; 0 is no limit
# ready-at-start         replicas that are running when the autoscaler starts
# unreachable-from       the second from which no Route names the revision; -1 is never
#
# Each row is a second. Those in which nothing is decided end after the load.
#
# load     concurrency, or requests per second with the metric rps; - where none was reported
# ready    replicas that are ready
# desired  replicas that Knative asks for; - where it has no data to decide on, and the row ends there
# excess   excess burst capacity
# stable   average of the load over the stable window
# panic    average of the load over the panic window

`

// columns are the names of the columns.
const columns = "second load ready desired excess stable panic\n"

// run returns the text of one golden file, as its legend explains it.
func run(t trace) (string, error) {
	config, err := asconfig.NewConfigFromMap(t.config)
	if err != nil {
		return "", fmt.Errorf("reading its configuration: %w", err)
	}
	pa := &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "rev", Annotations: t.annotations},
		Spec:       autoscalingv1alpha1.PodAutoscalerSpec{ContainerConcurrency: t.concurrency},
	}
	service := "svc"
	spec := resources.MakeDecider(pa, config).Spec
	if spec.TargetBurstCapacity == -1 {
		service = "" // Knative does not scrape then, and reads an empty window as no load
	}
	logger := zap.NewNop().Sugar()
	collector := metrics.NewMetricCollector(func(*autoscalingv1alpha1.Metric, *zap.SugaredLogger) (metrics.StatsScraper, error) {
		return nil, nil
	}, logger)
	if err := collector.CreateOrUpdate(asresources.MakeMetric(pa, service, config)); err != nil {
		return "", fmt.Errorf("collecting: %w", err)
	}
	defer collector.Delete("ns", "rev")

	// The start is an even second, since Knative delays in buckets of two seconds. It is the current time, since a
	// scaler that starts with running replicas takes the beginning of its panic from the wall clock.
	start := time.Now().Truncate(period * time.Second)
	counter := &pods{ready: t.ready}
	scaler := scaling.New(attribute.NewSet(), noop.NewMeterProvider(), "ns", "rev", collector, counter, &spec)
	r := replay{trace: t, start: start, collector: collector, counter: counter, scaler: scaler, spec: spec, logger: logger}
	r.out.WriteString(legend + header(t) + columns)
	for sec := range t.seconds {
		if err := r.second(sec); err != nil {
			return "", err
		}
	}
	return r.out.String(), nil
}

func header(t trace) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(t.config)) {
		fmt.Fprintf(&b, "config %s %s\n", k, t.config[k])
	}
	for _, k := range slices.Sorted(maps.Keys(t.annotations)) {
		fmt.Fprintf(&b, "annotation %s %s\n", k, t.annotations[k])
	}
	fmt.Fprintf(&b, "container-concurrency %d\nready-at-start %d\nunreachable-from %d\n\n", t.concurrency, t.ready, t.unreachable)
	return b.String()
}

// replay is the state of one trace that is being run.
type replay struct {
	trace     trace
	start     time.Time
	collector *metrics.MetricCollector
	counter   *pods
	scaler    scaling.UniScaler
	spec      scaling.DeciderSpec
	logger    *zap.SugaredLogger
	desired   []int32
	out       strings.Builder
}

func (r *replay) second(sec int) error {
	key := types.NamespacedName{Namespace: "ns", Name: "rev"}
	now := r.start.Add(time.Duration(sec) * time.Second)
	load := "-"
	if v := r.trace.load(sec); v >= 0 {
		load = strconv.FormatFloat(v, 'g', -1, 64)
		r.collector.Record(key, now, metrics.Stat{PodName: "p", AverageConcurrentRequests: v, RequestCount: v})
	}
	fmt.Fprintf(&r.out, "%d %s", sec, load)
	defer r.out.WriteString("\n")
	if sec%period != 0 {
		return nil
	}
	if r.trace.unreachable >= 0 && sec >= r.trace.unreachable {
		spec := r.spec
		spec.Reachable = false
		r.scaler.Update(&spec)
	}
	if behind := len(r.desired) - r.trace.startup/period; behind > 0 {
		r.counter.ready = int(r.desired[behind-1])
	}
	if r.trace.replicas != nil {
		r.counter.ready = r.trace.replicas(sec)
	}
	result := r.scaler.Scale(r.logger, now)
	fmt.Fprintf(&r.out, " %d", r.counter.ready)
	if !result.ScaleValid {
		r.out.WriteString(" -")
		r.desired = append(r.desired, int32(r.counter.ready))
		return nil
	}
	average := r.collector.StableAndPanicConcurrency
	if r.spec.ScalingMetric == "rps" {
		average = r.collector.StableAndPanicRPS
	}
	stable, panicking, err := average(key, now)
	if err != nil {
		return fmt.Errorf("averaging at second %d: %w", sec, err)
	}
	r.desired = append(r.desired, result.DesiredPodCount)
	fmt.Fprintf(&r.out, " %d %d %.10g %.10g", result.DesiredPodCount, result.ExcessBurstCapacity, stable, panicking)
	return nil
}
