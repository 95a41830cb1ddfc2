package autoscaler

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"sluice.dev/sluice/model"
)

// The annotations of a revision, without their group.
const (
	keyClass           = "class"
	keyMetric          = "metric"
	keyTarget          = "target"
	keyUtilization     = "target-utilization-percentage"
	keyMinScale        = "min-scale"
	keyMaxScale        = "max-scale"
	keyInitialScale    = "initial-scale"
	keyActivationScale = "activation-scale"
	keyScaleDownDelay  = "scale-down-delay"
	keyRetention       = "scale-to-zero-pod-retention-period"
	keyWindow          = "window"
	keyPanicWindow     = "panic-window-percentage"
	keyPanicThreshold  = "panic-threshold-percentage"
	keyBurst           = "target-burst-capacity"
	keyAggregation     = "metric-aggregation-algorithm"

	// group is what the annotations begin with.
	group = "autoscaling.knative.dev/"
)

// names are all annotations, sorted.
var names = []string{
	keyActivationScale, keyClass, keyInitialScale, keyMaxScale, keyMetric, keyAggregation, keyMinScale, keyPanicThreshold,
	keyPanicWindow, keyScaleDownDelay, keyRetention, keyTarget, keyBurst, keyUtilization, keyWindow,
}

// Names returns the annotations that a policy is made from, without their group, sorted. Of those with two spellings it has the one
// with dashes, which wins.
func Names() []string { return slices.Clone(names) }

// Annotation returns the annotation of a name that is among Names. It is false for any other.
func Annotation(name string) (string, bool) { return group + name, slices.Contains(names, name) }

// camel are the other spellings that Knative accepts; the one with dashes wins.
var camel = map[string]string{
	keyUtilization:    "targetUtilizationPercentage",
	keyMinScale:       "minScale",
	keyMaxScale:       "maxScale",
	keyInitialScale:   "initialScale",
	keyScaleDownDelay: "scaleDownDelay",
	keyRetention:      "scaleToZeroPodRetentionPeriod",
	keyPanicWindow:    "panicWindowPercentage",
	keyPanicThreshold: "panicThresholdPercentage",
	keyBurst:          "targetBurstCapacity",
	keyAggregation:    "metricAggregationAlgorithm",
}

// defaultProgressDeadline is config-deployment's progress-deadline.
const defaultProgressDeadline = 600 * time.Second

// Template is what a policy is made from.
type Template struct {
	// Annotations are the revision's.
	Annotations map[string]string
	// Concurrency is containerConcurrency; 0 means no limit.
	Concurrency int
	// ProgressDeadline is how long replicas may take to become ready; 0 means that of the Config.
	ProgressDeadline time.Duration
}

// Policy returns the policy of a revision: its annotations over the configuration. It ignores an annotation with an invalid value,
// which Validate refuses: there must be a policy in any case.
func Policy(c *Config, t Template) model.Scaling {
	a := annotations(t.Annotations)
	p := model.Scaling{
		Class:               ClassOf(c, t.Annotations),
		Metric:              model.Metric(a.text(keyMetric, string(model.Concurrency))),
		Aggregation:         model.Linear,
		MaxScaleUpRate:      c.MaxScaleUpRate,
		MaxScaleDownRate:    c.MaxScaleDownRate,
		PanicThreshold:      given(a, keyPanicThreshold, c.PanicThresholdPercentage, parseFloat) / 100,
		TargetBurstCapacity: given(a, keyBurst, c.TargetBurstCapacity, parseFloat),
		ActivatorCapacity:   c.ActivatorCapacity,
		StableWindow:        given(a, keyWindow, c.StableWindow, time.ParseDuration),
		ScaleDownDelay:      given(a, keyScaleDownDelay, c.ScaleDownDelay, time.ParseDuration),
		MinScale:            given(a, keyMinScale, c.MinScale, parseInt),
		MaxScale:            given(a, keyMaxScale, c.MaxScale, parseInt),
		InitialScale:        given(a, keyInitialScale, c.InitialScale, parseInt),
		ActivationScale:     given(a, keyActivationScale, 0, parseInt),
		ScaleToZero:         c.ScaleToZero,
		Grace:               c.ScaleToZeroGrace,
		Retention:           given(a, keyRetention, c.ScaleToZeroRetain, time.ParseDuration),
		ProgressDeadline:    cmp.Or(max(t.ProgressDeadline, 0), c.ProgressDeadline, defaultProgressDeadline),
	}
	switch a.text(keyAggregation, "") {
	case "weighted-exponential", "weightedExponential":
		p.Aggregation = model.WeightedExponential
	}
	if p.InitialScale == 0 && !c.AllowZeroInitialScale {
		p.InitialScale = c.InitialScale
	}
	p.PanicWindow = panicWindow(p.StableWindow, given(a, keyPanicWindow, c.PanicWindowPercentage, parseFloat))
	if p.Class == KPA {
		p.Observe = t.Annotations[Mode] == ModeObserve
		p.CPU, p.Memory = max(0, own(t.Annotations, ScaleOnCPU)), max(0, own(t.Annotations, ScaleOnMemory))
	}
	if p.Class == HPA {
		p.Metric, p.HPA = model.Concurrency, hpaPolicy(&p, a)
	}
	p.Target, p.Total = targets(c, a, p.Metric, float64(t.Concurrency))
	if p.Class == Event {
		eventPolicy(&p, &t)
	}
	return p
}

// The annotations of a revision that Knative does not have.
const (
	// ScaleOnCPU is how much CPU a replica should use, in percent of what is requested for it.
	ScaleOnCPU = "sluice.dev/scale-on-cpu"
	// ScaleOnMemory is how much memory a replica should have, in MiB.
	ScaleOnMemory = "sluice.dev/scale-on-memory"

	// Mode is ModeAuto, which is the default, or ModeObserve: decide and show, but keep the replicas that a new revision begins with.
	Mode        = "sluice.dev/scaling"
	ModeAuto    = "auto"
	ModeObserve = "observe"

	// maxUsage is the largest value of these annotations.
	maxUsage = 1e9
)

// own returns the number in an annotation of ours, 0 without a valid one.
func own(annotations map[string]string, key string) float64 {
	v, err := parseFloat(annotations[key])
	if err != nil || v < minTarget || v > maxUsage {
		return 0
	}
	return v
}

// hpaPolicy returns the policy of a revision of the class HPA (pkg/reconciler/autoscaling/hpa/resources/hpa.go).
func hpaPolicy(p *model.Scaling, a annotations) model.HPA {
	return model.HPA{
		Min: max(1, p.MinScale), Max: max(0, p.MaxScale), Metric: model.Metric(a.text(keyMetric, string(model.CPU))),
		Target: max(0, given(a, keyTarget, 0, parseFloat)), Window: max(0, given(a, keyWindow, 0, time.ParseDuration)),
	}
}

// panicWindow returns a part of the stable window in whole seconds, at least one.
func panicWindow(stable time.Duration, percent float64) time.Duration {
	return max(time.Second, time.Duration(float64(stable)*percent/100).Round(time.Second))
}

// targets returns the load that a replica should have and the one that it can have.
func targets(c *Config, a annotations, metric model.Metric, concurrency float64) (target, total float64) {
	total, fraction := c.RPSTarget, utilization
	if metric != model.RPS {
		total, fraction = concurrency, c.ConcurrencyUtilization
		if total == 0 {
			total = c.ConcurrencyTarget
		}
	}
	if v := given(a, keyTarget, 0, parseFloat); v > 0 {
		total = v
		if metric == model.Concurrency && concurrency != 0 {
			total = min(v, concurrency) // a replica takes no more, whatever the target is
		}
	}
	if percent := given(a, keyUtilization, -1, parseFloat); percent >= 0 {
		fraction = percent / 100
	}
	return max(minTarget, total*fraction), total
}

// annotations are those of a revision.
type annotations map[string]string

// find returns the full key of an annotation as it is written, and its value.
func (a annotations) find(key string) (string, string, bool) {
	if v, ok := a[group+key]; ok {
		return group + key, v, true
	}
	if alt, ok := camel[key]; ok {
		if v, ok := a[group+alt]; ok {
			return group + alt, v, true
		}
	}
	return group + key, "", false
}

func (a annotations) text(key, otherwise string) string {
	if _, v, ok := a.find(key); ok {
		return v
	}
	return otherwise
}

func given[T any](a annotations, key string, otherwise T, parse func(string) (T, error)) T {
	if _, text, ok := a.find(key); ok {
		if v, err := parse(text); err == nil {
			return v
		}
	}
	return otherwise
}

// errNotFinite refuses NaN and infinity, which Go parses.
var errNotFinite = errors.New("must be a finite number")

func parseFloat(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = errNotFinite
	}
	return v, err
}

func parseInt(s string) (int, error) {
	v, err := strconv.ParseInt(s, 10, 32)
	return int(v), err
}
