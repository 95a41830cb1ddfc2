package autoscaler

import (
	"math"
	"time"
)

// Constants of Knative's aggregation (pkg/autoscaler/aggregation/bucketing.go).
const (
	// minSmoothing is the least share of the newest second in a weighted average.
	minSmoothing = 0.2
	// weightPrecision is the least sum of the weights of a whole window.
	weightPrecision = 0.9999
	// precision is ten to the digits that a linear average is rounded to.
	precision = 1e6
	// maxBuckets is the longest window, in seconds.
	maxBuckets = 3600
)

// buckets hold the load of the last seconds, one bucket for each second, in a ring.
type buckets struct {
	ring []float64
	// first and last are the seconds of the first and the last write; first has no meaning in an empty ring.
	first, last int64
	// written says that there was a write.
	written bool
	// total is the sum of the ring.
	total float64
}

// seconds returns how many buckets a window needs, up to maxBuckets.
func seconds(window time.Duration) int {
	return int(min(max(1, math.Ceil(window.Seconds())), maxBuckets))
}

func newBuckets(n int) buckets { return buckets{ring: make([]float64, n)} }

func (b *buckets) size() int64 { return int64(len(b.ring)) }

// at returns the bucket of a second, which may be before 1970.
func (b *buckets) at(sec int64) *float64 {
	n := b.size()
	return &b.ring[((sec%n)+n)%n]
}

func (b *buckets) clear() {
	clear(b.ring)
	b.total, b.written = 0, false
}

// record adds a value to its second. A value that is older than the window is dropped.
func (b *buckets) record(sec int64, value float64) {
	switch {
	case !b.written || sec-b.last >= b.size():
		b.clear()
		b.first, b.last, b.written = sec, sec, true
	case sec > b.last:
		for s := b.last + 1; s <= sec; s++ {
			bucket := b.at(s)
			b.total -= *bucket
			*bucket = 0
		}
		b.last = sec
	case b.last-sec >= b.size():
		return
	default:
		b.first = min(b.first, sec)
	}
	*b.at(sec) += value
	b.total += value
}

// empty says that nothing was written within the window. A write exactly a window ago still counts, as in Knative.
func (b *buckets) empty(sec int64) bool { return !b.written || sec-b.last > b.size() }

// linear returns the mean over the seconds from the first write to the last, within the window, rounded to six digits. A second between
// them without a write counts as 0; seconds after the last write do not count. Neither average is below 0, not even -0, which differences
// of sums can leave.
func (b *buckets) linear(sec int64) float64 {
	if !b.written || sec-b.last >= b.size() {
		return 0
	}
	total, n := b.total, b.size()
	for s := b.last + 1; s <= sec; s++ {
		total -= *b.at(s)
		n--
	}
	n = min(n, b.last-b.first+1)
	return max(0, math.Round(total/float64(n)*precision)/precision)
}

// weighted returns the exponentially weighted sum: the newest second counts most, and the weights sum to about 1.
func (b *buckets) weighted(sec int64) float64 {
	if b.empty(sec) {
		return 0
	}
	n := b.size()
	smoothing := max(1-math.Pow(1-weightPrecision, 1/float64(n)), minSmoothing)
	weight := smoothing
	if gap := sec - b.last; gap > 0 {
		weight *= math.Pow(1-smoothing, float64(gap))
		n -= gap
	}
	sum := 0.
	for i := range n {
		sum += *b.at(b.last - i) * weight
		weight *= 1 - smoothing
	}
	return max(0, sum)
}

// delayBucket is how long one bucket of a slidingMax is, in seconds: a period of decisions.
const delayBucket = 2

// slidingMax finds the largest count of a delay. Its entries are the counts that can still become the largest, descending.
type slidingMax struct{ entries []maxEntry }

type maxEntry struct {
	index int64
	count int
}

// record adds a count and returns the largest of the last size buckets.
func (m *slidingMax) record(sec int64, size int64, count int) int {
	index := sec / delayBucket
	if n := len(m.entries); n > 0 && index < m.entries[n-1].index {
		// The clock was set back: the largest count counts from now.
		count = max(count, m.entries[0].count)
		m.entries = m.entries[:0]
	}
	for len(m.entries) > 0 && m.entries[len(m.entries)-1].count <= count {
		m.entries = m.entries[:len(m.entries)-1]
	}
	expired := 0
	for expired < len(m.entries) && index-m.entries[expired].index >= size {
		expired++
	}
	m.entries = m.entries[:copy(m.entries, m.entries[expired:])]
	if n := len(m.entries); n == 0 || m.entries[n-1].index != index {
		m.entries = append(m.entries, maxEntry{index, count})
	}
	return m.entries[0].count
}
