package config

import (
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/rollout"
)

// RetentionName is the ConfigMap that says how long revisions without a Route are kept.
const RetentionName = "config-gc"

// disabled is the value that switches a rule off.
const disabled = "disabled"

func readRetention(s *Settings, k *keys) {
	r := rollout.DefaultRetention()
	k.age("retain-since-create-time", &r.SinceCreated)
	k.age("retain-since-last-active-time", &r.SinceActive)
	least := int64(r.Min)
	k.integer("min-non-active-revisions", &least, 0)
	r.Min = int(least)
	const most = "max-non-active-revisions"
	read(k, most, &r.Max, `a whole number that is not negative, or "disabled"`, func(text string) (int, bool) {
		if text == "" {
			return r.Max, true
		}
		if strings.EqualFold(text, disabled) {
			return rollout.Disabled, true
		}
		n, err := strconv.ParseInt(text, 10, 32)
		return int(n), err == nil && n >= 0
	})
	if r.Max != rollout.Disabled && r.Min > r.Max {
		k.conflict("min-non-active-revisions", r.Min, "at most", most, r.Max)
	}
	s.Retention = r
}

// age reads a duration that is not negative, or "disabled".
func (k *keys) age(key string, to *time.Duration) {
	read(k, key, to, `a duration that is not negative, such as 48h, or "disabled"`, func(text string) (time.Duration, bool) {
		if text == "" {
			return *to, true
		}
		if strings.EqualFold(text, disabled) {
			return rollout.Disabled, true
		}
		d, err := time.ParseDuration(text)
		return d, err == nil && d >= 0
	})
}
