package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// exampleKey is where Knative's own ConfigMaps explain their keys.
const exampleKey = "_example"

// keys are the data of one ConfigMap while they are read. It knows which keys were asked for, and collects mistakes.
type keys struct {
	data    map[string]string
	known   map[string]bool
	errs    []error
	ignored map[string]string // sentences by key
}

func newKeys(data map[string]string) *keys {
	return &keys{data: data, known: map[string]bool{exampleKey: true}, ignored: map[string]string{}}
}

// get returns the text of a key, and whether it is there.
func (k *keys) get(key string) (string, bool) {
	k.known[key] = true
	text, ok := k.data[key]
	return text, ok
}

// wrong reports that a key should have another value. want completes the sentence: want a whole number.
func (k *keys) wrong(key, want string) {
	k.errs = append(k.errs, fmt.Errorf("%s is %q, want %s", key, k.data[key], want))
}

// wrongKey reports a key that should be another one.
func (k *keys) wrongKey(key, want string) {
	k.errs = append(k.errs, fmt.Errorf("key %q: want %s", key, want))
}

// ignore notes that the value of a key has no effect. why is a sentence.
func (k *keys) ignore(key, why string) { k.ignored[key] = why }

func (k *keys) err() error { return errors.Join(k.errs...) }

func (k *keys) notes() Notes {
	var n Notes
	for _, key := range slices.Sorted(maps.Keys(k.data)) {
		if !k.known[key] {
			n.Unknown = append(n.Unknown, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(k.ignored)) {
		n.Ignored = append(n.Ignored, k.ignored[key])
	}
	return n
}

// read sets a value where the key is there. parse says whether it takes the text; want says what it takes.
func read[T any](k *keys, key string, to *T, want string, parse func(text string) (T, bool)) {
	text, ok := k.get(key)
	if !ok {
		return
	}
	v, ok := parse(text)
	if !ok {
		k.wrong(key, want)
		return
	}
	*to = v
}

// text reads any text.
func (k *keys) text(key string, to *string) {
	read(k, key, to, "", func(text string) (string, bool) { return text, true })
}

// boolean reads true or false, in all spellings of Go, as Knative does.
func (k *keys) boolean(key string, to *bool) {
	read(k, key, to, "true or false", func(text string) (bool, bool) {
		v, err := strconv.ParseBool(text)
		return v, err == nil
	})
}

// integer reads a whole number from low on, of 32 bits.
func (k *keys) integer(key string, to *int64, low int64) {
	read(k, key, to, fmt.Sprintf("a whole number from %d to %d", low, math.MaxInt32), func(text string) (int64, bool) {
		v, err := strconv.ParseInt(text, 10, 32)
		return v, err == nil && v >= low
	})
}

// duration reads a Go duration over 0, of whole units.
func (k *keys) duration(key string, to *time.Duration, unit time.Duration) {
	want := "a duration over 0, such as 90s"
	if unit == time.Second {
		want = "a duration of whole seconds over 0, such as 90s"
	}
	read(k, key, to, want, func(text string) (time.Duration, bool) {
		v, err := time.ParseDuration(text)
		return v, err == nil && v > 0 && v%unit == 0
	})
}

// quantity reads an amount of a resource that is not negative. It returns nil when the key is not there.
func (k *keys) quantity(key string) *resource.Quantity {
	var q *resource.Quantity
	read(k, key, &q, "a quantity that is not negative, such as 100m or 64Mi", func(text string) (*resource.Quantity, bool) {
		v, err := resource.ParseQuantity(text)
		return &v, err == nil && v.Sign() >= 0
	})
	return q
}

// list reads texts with commas between them, sorted, each once.
func (k *keys) list(key string, to *[]string) {
	read(k, key, to, "", func(text string) ([]string, bool) {
		var all []string
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
		slices.Sort(all)
		return slices.Compact(all), true
	})
}

// conflict reports that two keys do not go together: key is to be, for example, "at most" what other is.
func (k *keys) conflict(key string, value any, relation, other string, limit any) {
	if len(k.errs) > 0 {
		return // the values are not those that the user meant
	}
	k.errs = append(k.errs, fmt.Errorf("%s is %v, want %s the %v of %s", key, value, relation, limit, other))
}

// rename has a key be found by an older spelling too. The newer one wins.
func (k *keys) rename(key, old string) {
	text, ok := k.data[old]
	if !ok {
		return
	}
	k.known[old] = true
	if _, both := k.data[key]; !both {
		k.data = maps.Clone(k.data)
		k.data[key] = text
	}
}

// notOver reports requests that are over their limits, which Kubernetes refuses in each pod.
func (k *keys) notOver(begin string, r corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) > 0 {
			k.conflict(begin+string(name)+"-request", request.String(), "at most", begin+string(name)+"-limit", limit.String())
		}
	}
}
