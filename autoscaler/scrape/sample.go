package scrape

import (
	"math"
	"math/rand/v2"
	"time"
)

// sampleSize is how many of n replicas are asked, as in Knative (pkg/autoscaler/metrics/sample_size.go): all of three, 16
// of any number.
func sampleSize(n int) int {
	if n <= 3 {
		return n
	}
	const limit = 1.96 * 1.96 * 100 / 25 // 1.96 standard deviations are 95 % confidence
	return int(math.Ceil(float64(n) * limit / (float64(n) + limit - 1)))
}

// order returns the indices of a target's replicas in the order in which they are asked: those that are older than the
// window first, the sample's places filled at random among those that compete for them.
//
// Unlike Knative's, a sample stays the same but for one place in each round. An average needs two readings that are not far apart,
// so most of the sample is asked again; by the one place all replicas have their turn.
func order(t Target, now time.Time, fresh func(i int) bool) []int {
	n := len(t.Replicas)
	k := sampleSize(n)
	indices := make([]int, 0, n)
	if k == n {
		for i := range n {
			indices = append(indices, i)
		}
		return indices
	}
	var old, rest []int
	for i, replica := range t.Replicas {
		if now.Sub(replica.Since) > t.Window {
			old = append(old, i)
		} else {
			rest = append(rest, i)
		}
	}
	if len(old) < k {
		return append(append(indices, old...), mix(rest, k-len(old), fresh)...)
	}
	return append(append(indices, mix(old, k, fresh)...), rest...)
}

// mix shuffles the candidates for k places, and gives all places but one to those with a recent reading.
func mix(candidates []int, k int, fresh func(i int) bool) []int {
	rand.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	mixed := make([]int, 0, len(candidates))
	var stale, rest []int
	for _, i := range candidates {
		switch {
		case !fresh(i):
			stale = append(stale, i)
		case len(mixed) < k-1:
			mixed = append(mixed, i)
		default:
			rest = append(rest, i)
		}
	}
	return append(append(mixed, stale...), rest...)
}
