package autoscaler

import (
	"fmt"
	"strconv"
	"time"
)

// Classes of autoscalers, as the annotation and the configuration name them.
const (
	KPA = "kpa.autoscaling.knative.dev"
	HPA = "hpa.autoscaling.knative.dev"
)

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

// Config is what holds for all revisions: the keys of Knative's config-autoscaler.
type Config struct {
	// Class is pod-autoscaler-class.
	Class string
	// ScaleToZero is enable-scale-to-zero, AllowZeroInitialScale allow-zero-initial-scale.
	ScaleToZero, AllowZeroInitialScale bool
	// ConcurrencyUtilization is container-concurrency-target-percentage as a fraction, over 0 to 1.
	ConcurrencyUtilization float64
	// ConcurrencyTarget and RPSTarget are what one replica can have where nothing else is said.
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
	}
}

// ParseConfig reads the data of a config-autoscaler over the defaults. Keys that it does not know are left alone,
// as in Knative. The error says which key is wrong and what would be right.
func ParseConfig(data map[string]string) (Config, error) {
	c := DefaultConfig()
	if class, ok := data["pod-autoscaler-class"]; ok {
		c.Class = class
	}
	if err := parseEach(data, &c); err != nil {
		return Config{}, fmt.Errorf("failed to parse data: %w", err)
	}
	// A percentage may be written as a fraction, for old times' sake.
	if c.ConcurrencyUtilization > 1 {
		c.ConcurrencyUtilization /= 100
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func parseEach(data map[string]string, c *Config) error {
	parsers := []func() error{
		into(data, "enable-scale-to-zero", &c.ScaleToZero, strconv.ParseBool),
		into(data, "allow-zero-initial-scale", &c.AllowZeroInitialScale, strconv.ParseBool),
		into(data, "max-scale-up-rate", &c.MaxScaleUpRate, parseFloat),
		into(data, "max-scale-down-rate", &c.MaxScaleDownRate, parseFloat),
		into(data, "container-concurrency-target-percentage", &c.ConcurrencyUtilization, parseFloat),
		into(data, "container-concurrency-target-default", &c.ConcurrencyTarget, parseFloat),
		into(data, "requests-per-second-target-default", &c.RPSTarget, parseFloat),
		into(data, "target-burst-capacity", &c.TargetBurstCapacity, parseFloat),
		into(data, "panic-window-percentage", &c.PanicWindowPercentage, parseFloat),
		into(data, "activator-capacity", &c.ActivatorCapacity, parseFloat),
		into(data, "panic-threshold-percentage", &c.PanicThresholdPercentage, parseFloat),
		into(data, "initial-scale", &c.InitialScale, parseInt),
		into(data, "min-scale", &c.MinScale, parseInt),
		into(data, "max-scale", &c.MaxScale, parseInt),
		into(data, "max-scale-limit", &c.MaxScaleLimit, parseInt),
		into(data, "stable-window", &c.StableWindow, time.ParseDuration),
		into(data, "scale-down-delay", &c.ScaleDownDelay, time.ParseDuration),
		into(data, "scale-to-zero-grace-period", &c.ScaleToZeroGrace, time.ParseDuration),
		into(data, "scale-to-zero-pod-retention-period", &c.ScaleToZeroRetain, time.ParseDuration),
	}
	for _, parse := range parsers {
		if err := parse(); err != nil {
			return err
		}
	}
	return nil
}

func into[T any](data map[string]string, key string, to *T, parse func(string) (T, error)) func() error {
	return func() error {
		text, ok := data[key]
		if !ok {
			return nil
		}
		v, err := parse(text)
		if err != nil {
			return fmt.Errorf("failed to parse %q: %w", key, err)
		}
		*to = v
		return nil
	}
}

// rule is one thing that must hold of a Config, and the sentence if it does not.
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
		{c.ScaleDownDelay%time.Second == 0, "scale-down-delay = %v, must be specified with at most second precision", []any{c.ScaleDownDelay}},
		{c.ScaleToZeroRetain >= 0, "scale-to-zero-pod-retention-period cannot be negative, was: %v", []any{c.ScaleToZeroRetain}},
		{c.TargetBurstCapacity >= 0 || c.TargetBurstCapacity == -1, "target-burst-capacity must be either non-negative or -1 (for unlimited), was: %f", []any{c.TargetBurstCapacity}},
		{c.ConcurrencyUtilization > 0 && c.ConcurrencyUtilization <= 1, "container-concurrency-target-percentage = %f is outside of valid range of (0, 100]", []any{c.ConcurrencyUtilization}},
		{aim >= minTarget, "container-concurrency-target-percentage and container-concurrency-target-default yield target concurrency of %v, can't be less than %v", []any{aim, minTarget}},
		{c.RPSTarget >= minTarget, "requests-per-second-target-default must be at least %v, was: %v", []any{minTarget, c.RPSTarget}},
		{c.ActivatorCapacity >= 1, "activator-capacity = %v, must be at least 1", []any{c.ActivatorCapacity}},
		{c.MaxScaleUpRate > 1, "max-scale-up-rate = %v, must be greater than 1.0", []any{c.MaxScaleUpRate}},
		{c.MaxScaleDownRate > 1, "max-scale-down-rate = %v, must be greater than 1.0", []any{c.MaxScaleDownRate}},
		{c.StableWindow >= minWindow && c.StableWindow <= maxWindow, "stable-window = %v, must be in [%v; %v] range", []any{c.StableWindow, minWindow, maxWindow}},
		{c.StableWindow%time.Second == 0, "stable-window = %v, must be specified with at most second precision", []any{c.StableWindow}},
		{c.PanicWindowPercentage >= minPanicWindow && c.PanicWindowPercentage <= maxPanicWindow, "panic-window-percentage = %v, must be in [%v, %v] interval", []any{c.PanicWindowPercentage, minPanicWindow, maxPanicWindow}},
	}
}

func (c *Config) scaleRules() []rule {
	least := 0
	if c.MaxScaleLimit > 0 {
		least = 1 // no limit at all would be over the limit
	}
	return []rule{
		{c.InitialScale > 0 || c.InitialScale == 0 && c.AllowZeroInitialScale, "initial-scale = %v, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)", []any{c.InitialScale}},
		{c.MinScale >= 0, "min-scale = %v, must be at least 0", []any{c.MinScale}},
		{c.MaxScale >= least && (c.MaxScaleLimit <= 0 || c.MaxScale <= c.MaxScaleLimit), "max-scale = %d, must be in [%d, max-scale-limit(%d)] range", []any{c.MaxScale, least, c.MaxScaleLimit}},
		{c.MaxScaleLimit >= 0, "max-scale-limit = %v, must be at least 0", []any{c.MaxScaleLimit}},
		{c.MinScale <= c.MaxScale || c.MaxScale <= 0, "min-scale (%d) must be less than max-scale (%d)", []any{c.MinScale, c.MaxScale}},
	}
}
