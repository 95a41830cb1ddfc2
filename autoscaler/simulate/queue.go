package simulate

// queue holds the requests of one revision: those that wait, in the order of their arrival, and those that run on a replica. Times are
// in ticks of the model.
type queue struct {
	cohorts []cohort
	head    int
	waiting int
	running int
	// ends are how many requests end at a tick, in a ring that is longer than any request takes.
	ends []int
	// waits[n] is how many requests waited for n ticks.
	waits []int
	// timeout is after how many ticks a waiting request times out.
	timeout int64
	// arrived = served + waiting + timedOut, always.
	arrived, served, timedOut int
}

// cohort are requests that arrived together and take equally long.
type cohort struct {
	at      int64
	n       int
	latency int64
}

func (q *queue) arrive(now int64, n int, latency int64) {
	if n > 0 {
		q.cohorts = append(q.cohorts, cohort{now, n, latency})
		q.arrived += n
		q.waiting += n
	}
}

// finish ends the requests that are due.
func (q *queue) finish(now int64) {
	end := &q.ends[now%int64(len(q.ends))]
	q.running -= *end
	*end = 0
}

// expire ends the requests that have waited for the timeout.
func (q *queue) expire(now int64) {
	for q.waiting > 0 && now-q.cohorts[q.head].at >= q.timeout {
		q.timedOut += q.take(now, q.waiting)
	}
}

// admit hands up to free requests to replicas.
func (q *queue) admit(now int64, free int) {
	for free > 0 && q.waiting > 0 {
		latency := q.cohorts[q.head].latency
		n := q.take(now, free)
		free -= n
		q.served += n
		q.running += n
		q.ends[(now+latency)%int64(len(q.ends))] += n
	}
}

// take removes up to most requests of the oldest cohort, and records how long they waited.
func (q *queue) take(now int64, most int) int {
	c := &q.cohorts[q.head]
	n := min(c.n, most)
	q.note(now-c.at, n)
	c.n -= n
	q.waiting -= n
	if c.n > 0 {
		return n
	}
	q.head++
	if q.head == len(q.cohorts) {
		q.cohorts, q.head = q.cohorts[:0], 0
	} else if q.head > len(q.cohorts)/2 && q.head > 64 { // amortized: each cohort is moved at most once
		q.cohorts = q.cohorts[:copy(q.cohorts, q.cohorts[q.head:])]
		q.head = 0
	}
	return n
}

func (q *queue) note(ticks int64, n int) {
	for int64(len(q.waits)) <= ticks {
		q.waits = append(q.waits, 0)
	}
	q.waits[ticks] += n
}

// close records the waits of the requests that still wait at the end.
func (q *queue) close(now int64) {
	for _, c := range q.cohorts[q.head:] {
		q.note(now-c.at, c.n)
	}
}

// percentile returns the wait, in ticks, that a share of all requests did not exceed.
func (q *queue) percentile(share float64) int {
	left := int(share * float64(q.arrived))
	for ticks, n := range q.waits {
		if left -= n; left < 0 {
			return ticks
		}
	}
	return max(0, len(q.waits)-1)
}

// over returns how many requests waited for more than so many ticks.
func (q *queue) over(ticks int) int {
	sum := 0
	for i := ticks + 1; i < len(q.waits); i++ {
		sum += q.waits[i]
	}
	return sum
}

// total returns the sum of all waits, in ticks.
func (q *queue) total() float64 {
	sum := 0.
	for ticks, n := range q.waits {
		sum += float64(ticks) * float64(n)
	}
	return sum
}
