package autoscaler

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// domain is the end of the classes that are Knative's own, ours of Sluice's.
const domain, ours = ".knative.dev", ".sluice.dev"

// Validate says which annotations of a revision are wrong, in Knative's sentences ("message: annotation", one per
// line; pkg/apis/autoscaling/annotation_validation.go). Annotations that Knative does not have get sentences of that form. It returns nil
// when all are right.
func Validate(c *Config, a map[string]string) error {
	v := validator{annotations: a, config: c}
	v.class()
	v.scales()
	v.floats()
	v.durations()
	v.metric()
	v.aggregation()
	v.initialScale()
	v.usage()
	v.mode()
	v.event()
	return errors.Join(v.errs...)
}

// ValidateExisting is like Validate, for a revision that exists already. What only the configuration forbids (a max-scale over
// max-scale-limit, an initial-scale of 0) counts for new revisions alone: a change of the configuration must stop no revision.
func ValidateExisting(c *Config, a map[string]string) error {
	lenient := *c
	lenient.MaxScaleLimit, lenient.AllowZeroInitialScale = 0, true
	return Validate(&lenient, a)
}

// usage checks the annotations of ours, which are for the class KPA.
func (v *validator) usage() {
	for _, key := range []string{ScaleOnCPU, ScaleOnMemory} {
		text, ok := v.annotations[key]
		switch {
		case !ok:
		case ClassOf(v.config, v.annotations) != KPA:
			v.errs = append(v.errs, fmt.Errorf("annotation %s is for the class %s alone", key, KPA))
		case own(v.annotations, key) == 0:
			v.errs = append(v.errs, fmt.Errorf("annotation %s is %q, want a number from %g to %g", key, text, minTarget, maxUsage))
		}
	}
}

// mode checks whether decisions are carried out, which only those of the class KPA need not be.
func (v *validator) mode() {
	switch mode, ok := v.annotations[Mode]; {
	case !ok || mode == ModeAuto:
	case mode != ModeObserve:
		v.errs = append(v.errs, fmt.Errorf("annotation %s is %q, want %s or %s", Mode, mode, ModeAuto, ModeObserve))
	case ClassOf(v.config, v.annotations) != KPA:
		v.errs = append(v.errs, fmt.Errorf("annotation %s is %s, which is for the class %s alone", Mode, ModeObserve, KPA))
	}
}

type validator struct {
	annotations
	config *Config
	errs   []error
}

func (v *validator) wrong(key, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format+": "+strings.ReplaceAll(key, "%", "%%"), args...))
}

func (v *validator) invalid(key, value string) { v.wrong(key, "invalid value: %s", value) }

func (v *validator) outside(key string, low, value, high any) {
	v.wrong(key, "expected %v <= %v <= %v", low, value, high)
}

func (v *validator) class() {
	if k, class, ok := v.find(keyClass); ok && (strings.HasSuffix(class, domain) || strings.HasSuffix(class, ours)) && !Known(class) {
		v.invalid(k, class)
	}
}

// scales checks min-scale and max-scale, and activation-scale with them.
func (v *validator) scales() {
	least, most := v.scale(keyMinScale), v.scale(keyMaxScale)
	if most != 0 && most < least {
		v.wrong(group+keyMaxScale+", "+group+keyMinScale, "max-scale=%d is less than min-scale=%d", most, least)
	}
	if k, _, ok := v.find(keyMaxScale); ok && v.config.MaxScaleLimit != 0 {
		switch limit := v.config.MaxScaleLimit; {
		case most > limit:
			v.outside(k, 1, most, limit)
		case most == 0:
			v.wrong(k, "max-scale=0 (unlimited), must be less than %d", limit)
		}
	}
	v.activationScale(least, most)
}

// activationScale checks activation-scale against the bounds of min-scale and max-scale.
func (v *validator) activationScale(least, most int) {
	k, text, ok := v.find(keyActivationScale)
	if !ok {
		return
	}
	switch first, err := parseInt(text); {
	case err != nil:
		v.invalid(k, text)
	case least > first:
		v.wrong(k, "min-scale=%d is greater than activation-scale=%d", least, first)
	case most < first && most != 0:
		v.wrong(k, "max-scale=%d is less than activation-scale=%d", most, first)
	case first < 2:
		v.wrong(k, "activation-scale=%d must be greater than 1", first)
	}
}

// scale reads a count of 0 or more. A wrong one counts as 0.
func (v *validator) scale(key string) int {
	k, text, ok := v.find(key)
	if !ok {
		return 0
	}
	n, err := parseInt(text)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && n < 0:
		v.outside(k, 0, text, math.MaxInt32)
	case err != nil:
		v.invalid(k, text)
	default:
		return n
	}
	return 0
}

func (v *validator) floats() {
	v.percent(keyPanicWindow, minPanicWindow, maxPanicWindow)
	v.percent(keyPanicThreshold, minPanicThreshold, maxPanicThreshold)
	if k, text, ok := v.find(keyTarget); ok {
		if f, err := parseFloat(text); err != nil {
			v.invalid(k, text)
		} else if f < minTarget {
			v.wrong(k, "target %s should be at least %g", text, minTarget)
		}
	}
	v.percent(keyUtilization, 1, 100)
	if k, text, ok := v.find(keyBurst); ok {
		if f, err := parseFloat(text); err != nil || f < 0 && f != -1 {
			v.invalid(k, text)
		}
	}
}

func (v *validator) percent(key string, low, high float64) {
	k, text, ok := v.find(key)
	if !ok {
		return
	}
	if f, err := parseFloat(text); err != nil {
		v.invalid(k, text)
	} else if f < low || f > high {
		v.outside(k, low, text, high)
	}
}

func (v *validator) durations() {
	v.duration(keyWindow, minWindow, maxWindow, true)
	v.duration(keyRetention, 0, maxWindow, false)
	v.duration(keyScaleDownDelay, 0, maxDelay, true)
}

func (v *validator) duration(key string, low, high time.Duration, whole bool) {
	k, text, ok := v.find(key)
	if !ok {
		return
	}
	switch d, err := time.ParseDuration(text); {
	case err != nil:
		v.invalid(k, text)
	case d < low || d > high:
		v.outside(k, low, text, high)
	case whole && d%time.Second != 0:
		v.wrong(k, "must be specified with at most second precision")
	}
}

// metric checks the metrics of Knative's own classes. Those of other classes are not known here.
func (v *validator) metric() {
	k, metric, ok := v.find(keyMetric)
	if !ok {
		return
	}
	known := true
	switch v.text(keyClass, v.config.Class) {
	case KPA:
		known = metric == string(model.Concurrency) || metric == string(model.RPS)
	case HPA:
		known = metric != ""
	}
	if !known {
		v.invalid(k, metric)
	}
}

// aggregation checks the algorithm when the annotation names the class KPA: other classes have values of their own.
func (v *validator) aggregation() {
	if v.text(keyClass, "") != KPA {
		return
	}
	switch k, name, _ := v.find(keyAggregation); name {
	case "", string(model.Linear), string(model.WeightedExponential), "weightedExponential":
	default:
		v.invalid(k, name)
	}
}

func (v *validator) initialScale() {
	k, text, ok := v.find(keyInitialScale)
	if !ok {
		return
	}
	switch n, err := parseInt(text); {
	case err != nil:
		v.invalid(k, text)
	case n < 0:
		v.invalid(k+" must be greater than 0", text)
	case n == 0 && !v.config.AllowZeroInitialScale:
		v.invalid(k+"=0 not allowed by cluster", text)
	}
}
