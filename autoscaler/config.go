package autoscaler

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Classes of autoscalers, as the annotation and the configuration name them.
const (
	KPA = "kpa.autoscaling.knative.dev"
	HPA = "hpa.autoscaling.knative.dev"
)

// Known says whether Sluice scales a class: Knative's, and Event. The others belong to somebody else.
func Known(class string) bool { return class == KPA || class == HPA || class == Event }

// ClassOf returns the class of a revision with these annotations.
func ClassOf(c *Config, a map[string]string) string {
	return cmp.Or(annotations(a).text(keyClass, ""), c.Class, KPA)
}

// Limits of a policy (pkg/apis/autoscaling/register.go).
const (
	minTarget = 0.01
	minWindow = 6 * time.Second
	maxWindow = time.Hour
	maxDelay  = maxWindow

	minPanicWindow, maxPanicWindow       = 1.0, 100.0
	minPanicThreshold, maxPanicThreshold = 110.0, 1000.0

	// utilization is what Knative aims for with a metric other than concurrency; it cannot be configured.
	utilization = 0.7
)

// Config are the settings of all revisions: the keys of Knative's config-autoscaler.
type Config struct {
	// Class is pod-autoscaler-class.
	Class string
	// ScaleToZero is enable-scale-to-zero, AllowZeroInitialScale allow-zero-initial-scale.
	ScaleToZero, AllowZeroInitialScale bool
	// ConcurrencyUtilization is container-concurrency-target-percentage as a fraction, over 0 to 1.
	ConcurrencyUtilization float64
	// ConcurrencyTarget and RPSTarget are the load that one replica can have, where no annotation says otherwise.
	ConcurrencyTarget, RPSTarget float64
	// The others are named as their keys; counts are replicas. A MaxScale or MaxScaleLimit of 0 means none.
	TargetBurstCapacity              float64
	ActivatorCapacity                float64
	PanicWindowPercentage            float64
	PanicThresholdPercentage         float64
	MaxScaleUpRate, MaxScaleDownRate float64
	InitialScale                     int
	MinScale, MaxScale               int
	MaxScaleLimit                    int
	StableWindow, ScaleDownDelay     time.Duration
	// ScaleToZeroGrace is scale-to-zero-grace-period, ScaleToZeroRetain scale-to-zero-pod-retention-period.
	ScaleToZeroGrace, ScaleToZeroRetain time.Duration
	// ProgressDeadline is config-deployment's progress-deadline, for revisions that do not have one of their own; 0 means 600 s.
	ProgressDeadline time.Duration
}

// DefaultConfig returns Knative's defaults.
func DefaultConfig() Config {
	return Config{
		Class:                    KPA,
		ScaleToZero:              true,
		ConcurrencyUtilization:   utilization,
		ConcurrencyTarget:        100,
		RPSTarget:                200,
		TargetBurstCapacity:      211,
		ActivatorCapacity:        100,
		PanicWindowPercentage:    10,
		PanicThresholdPercentage: 200,
		MaxScaleUpRate:           1000,
		MaxScaleDownRate:         2,
		InitialScale:             1,
		StableWindow:             60 * time.Second,
		ScaleToZeroGrace:         30 * time.Second,
		ProgressDeadline:         defaultProgressDeadline,
	}
}

// ParseConfig reads the data of a config-autoscaler over the defaults. It ignores keys that it does not know, as Knative does;
// UnknownKeys lists them. The error says which key is wrong and what would be right.
func ParseConfig(data map[string]string) (Config, error) {
	c := DefaultConfig()
	for _, s := range c.settings() {
		if text, ok := data[s.key]; ok {
			if err := s.read(text); err != nil {
				return Config{}, fmt.Errorf("failed to parse data: failed to parse %q: %w", s.key, err)
			}
		}
	}
	// A percentage may be written as a fraction, as in Knative.
	if c.ConcurrencyUtilization > 1 {
		c.ConcurrencyUtilization /= 100
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// exampleKey is where Knative's own ConfigMap explains its keys.
const exampleKey = "_example"

// UnknownKeys returns the keys of the data of a config-autoscaler that ParseConfig ignores, sorted. Most are typing errors.
func UnknownKeys(data map[string]string) []string {
	var c Config
	known := map[string]bool{exampleKey: true}
	for _, s := range c.settings() {
		known[s.key] = true
	}
	var unknown []string
	for key := range data {
		if !known[key] {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// setting is one key of the configuration, with the function that reads its value.
type setting struct {
	key  string
	read func(text string) error
}

func (c *Config) settings() []setting {
	verbatim := func(text string) (string, error) { return text, nil }
	return []setting{
		{"pod-autoscaler-class", into(&c.Class, verbatim)},
		{"enable-scale-to-zero", into(&c.ScaleToZero, strconv.ParseBool)},
		{"allow-zero-initial-scale", into(&c.AllowZeroInitialScale, strconv.ParseBool)},
		{"max-scale-up-rate", into(&c.MaxScaleUpRate, parseFloat)},
		{"max-scale-down-rate", into(&c.MaxScaleDownRate, parseFloat)},
		{"container-concurrency-target-percentage", into(&c.ConcurrencyUtilization, parseFloat)},
		{"container-concurrency-target-default", into(&c.ConcurrencyTarget, parseFloat)},
		{"requests-per-second-target-default", into(&c.RPSTarget, parseFloat)},
		{"target-burst-capacity", into(&c.TargetBurstCapacity, parseFloat)},
		{"panic-window-percentage", into(&c.PanicWindowPercentage, parseFloat)},
		{"activator-capacity", into(&c.ActivatorCapacity, parseFloat)},
		{"panic-threshold-percentage", into(&c.PanicThresholdPercentage, parseFloat)},
		{"initial-scale", into(&c.InitialScale, parseInt)},
		{"min-scale", into(&c.MinScale, parseInt)},
		{"max-scale", into(&c.MaxScale, parseInt)},
		{"max-scale-limit", into(&c.MaxScaleLimit, parseInt)},
		{"stable-window", into(&c.StableWindow, time.ParseDuration)},
		{"scale-down-delay", into(&c.ScaleDownDelay, time.ParseDuration)},
		{"scale-to-zero-grace-period", into(&c.ScaleToZeroGrace, time.ParseDuration)},
		{"scale-to-zero-pod-retention-period", into(&c.ScaleToZeroRetain, time.ParseDuration)},
	}
}

func into[T any](to *T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		v, err := parse(text)
		if err == nil {
			*to = v
		}
		return err
	}
}

// rule is one condition that a Config must meet, and the sentence when it does not.
type rule struct {
	holds bool
	text  string
	args  []any
}

// check applies Knative's rules in Knative's order, with its sentences (pkg/autoscaler/config/config.go).
func (c *Config) check() error {
	for _, r := range append(c.loadRules(), c.scaleRules()...) {
		if !r.holds {
			return fmt.Errorf(r.text, r.args...)
		}
	}
	return nil
}

func (c *Config) loadRules() []rule {
	aim := c.ConcurrencyUtilization * c.ConcurrencyTarget
	return []rule{
		{c.ScaleToZeroGrace > 0, "scale-to-zero-grace-period must be positive, was: %v", []any{c.ScaleToZeroGrace}},
		{c.ScaleDownDelay >= 0, "scale-down-delay cannot be negative, was: %v", []any{c.ScaleDownDelay}},
		{c.ScaleDownDelay%time.Second == 0, "scale-down-delay = %v, must be specified with at most second precision",
			[]any{c.ScaleDownDelay}},
		{c.ScaleToZeroRetain >= 0, "scale-to-zero-pod-retention-period cannot be negative, was: %v", []any{c.ScaleToZeroRetain}},
		{c.TargetBurstCapacity >= 0 || c.TargetBurstCapacity == -1,
			"target-burst-capacity must be either non-negative or -1 (for unlimited), was: %f", []any{c.TargetBurstCapacity}},
		{c.ConcurrencyUtilization > 0 && c.ConcurrencyUtilization <= 1,
			"container-concurrency-target-percentage = %f is outside of valid range of (0, 100]", []any{c.ConcurrencyUtilization}},
		{aim >= minTarget,
			"container-concurrency-target-percentage and container-concurrency-target-default " +
				"yield target concurrency of %v, can't be less than %v", []any{aim, minTarget}},
		{c.RPSTarget >= minTarget, "requests-per-second-target-default must be at least %v, was: %v", []any{minTarget, c.RPSTarget}},
		{c.ActivatorCapacity >= 1, "activator-capacity = %v, must be at least 1", []any{c.ActivatorCapacity}},
		{c.MaxScaleUpRate > 1, "max-scale-up-rate = %v, must be greater than 1.0", []any{c.MaxScaleUpRate}},
		{c.MaxScaleDownRate > 1, "max-scale-down-rate = %v, must be greater than 1.0", []any{c.MaxScaleDownRate}},
		{c.StableWindow >= minWindow && c.StableWindow <= maxWindow, "stable-window = %v, must be in [%v; %v] range",
			[]any{c.StableWindow, minWindow, maxWindow}},
		{c.StableWindow%time.Second == 0, "stable-window = %v, must be specified with at most second precision", []any{c.StableWindow}},
		{c.PanicWindowPercentage >= minPanicWindow && c.PanicWindowPercentage <= maxPanicWindow,
			"panic-window-percentage = %v, must be in [%v, %v] interval", []any{c.PanicWindowPercentage, minPanicWindow, maxPanicWindow}},
	}
}

func (c *Config) scaleRules() []rule {
	least := 0
	if c.MaxScaleLimit > 0 {
		least = 1 // 0 is no limit, which exceeds any limit
	}
	return []rule{
		{c.InitialScale > 0 || c.InitialScale == 0 && c.AllowZeroInitialScale,
			"initial-scale = %v, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)", []any{c.InitialScale}},
		{c.MinScale >= 0, "min-scale = %v, must be at least 0", []any{c.MinScale}},
		{c.MaxScale >= least && (c.MaxScaleLimit <= 0 || c.MaxScale <= c.MaxScaleLimit),
			"max-scale = %d, must be in [%d, max-scale-limit(%d)] range", []any{c.MaxScale, least, c.MaxScaleLimit}},
		{c.MaxScaleLimit >= 0, "max-scale-limit = %v, must be at least 0", []any{c.MaxScaleLimit}},
		{c.MinScale <= c.MaxScale || c.MaxScale <= 0, "min-scale (%d) must be less than max-scale (%d)", []any{c.MinScale, c.MaxScale}},
	}
}
