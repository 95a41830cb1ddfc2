package scrape

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"sluice.dev/sluice/contract"
)

// The figures of a queue-proxy, in the order of figureNames. Those up to proxiedStreams are counters, which follows compares; those
// from inFlight on are figures of now, which check bounds. A proxied part follows its whole.
const (
	uptime = iota
	requests
	proxiedRequests
	concurrency
	proxiedConcurrency
	streams
	proxiedStreams
	inFlight
	proxiedInFlight
	streamsNow
	proxiedStreamsNow
	figures
)

// figureNames are the figures' names, without contract.QueueMetrics.
var figureNames = [figures]string{
	uptime:   contract.QueueUptime,
	requests: contract.QueueRequests, proxiedRequests: contract.QueueProxiedRequests,
	concurrency: contract.QueueConcurrency, proxiedConcurrency: contract.QueueProxiedConcurrency,
	streams: contract.QueueStreamSeconds, proxiedStreams: contract.QueueProxiedStreamSeconds,
	inFlight: contract.QueueInFlight, proxiedInFlight: contract.QueueProxiedInFlight,
	streamsNow: contract.QueueStreams, proxiedStreamsNow: contract.QueueProxiedStreams,
}

var figureByName = func() map[string]int {
	byName := make(map[string]int, figures)
	for i, name := range figureNames {
		byName[name] = i
	}
	return byName
}()

const (
	// maxLoad bounds requests at once and requests per second. A replica that reports more is wrong.
	maxLoad = 1e9
	// maxCount bounds the counters: as many seconds are 30 million years.
	maxCount = 1e15
)

// reading is one answer of a queue-proxy.
type reading [figures]float64

// parse reads a page of Prometheus text. It ignores lines with labels or with names other than ours. Each of ours must be there
// once, with a possible value.
func parse(page []byte) (reading, error) {
	var r reading
	var seen [figures]bool
	for len(page) > 0 {
		var line []byte
		if end := bytes.IndexByte(page, '\n'); end >= 0 {
			line, page = page[:end], page[end+1:]
		} else {
			line, page = page, nil
		}
		if len(line) < len(contract.QueueMetrics) || string(line[:len(contract.QueueMetrics)]) != contract.QueueMetrics {
			continue
		}
		name, value, _ := bytes.Cut(line[len(contract.QueueMetrics):], []byte{' '})
		i, ours := figureByName[string(name)]
		if !ours {
			continue
		}
		if seen[i] {
			return r, fmt.Errorf("%s%s is there twice, want it once", contract.QueueMetrics, name)
		}
		seen[i] = true
		number, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		if err != nil {
			return r, fmt.Errorf("%s%s is %.40q, want a number", contract.QueueMetrics, name, value)
		}
		r[i] = number
	}
	for i, name := range figureNames {
		if !seen[i] {
			return r, fmt.Errorf("there is no %s%s, want the page of a queue-proxy", contract.QueueMetrics, name)
		}
	}
	return r, r.check()
}

// check returns an error when figures are impossible or contradict each other.
func (r reading) check() error {
	for i, value := range r {
		most := float64(maxCount)
		if i >= inFlight {
			most = maxLoad
		}
		if math.IsNaN(value) || value < 0 || value > most {
			return fmt.Errorf("%s%s is %v, want 0 to %v", contract.QueueMetrics, figureNames[i], value, most)
		}
	}
	for _, pair := range [...][2]int{
		{proxiedRequests, requests}, {proxiedConcurrency, concurrency}, {proxiedStreams, streams}, {streams, concurrency},
		{proxiedInFlight, inFlight}, {proxiedStreamsNow, streamsNow}, {streamsNow, inFlight},
	} {
		part, whole := r[pair[0]], r[pair[1]]
		if part > whole+1e-6*(1+whole) { // each is a sum of its own, with rounding errors of its own
			return fmt.Errorf("%s%s is %v, want at most %s%s, which is %v",
				contract.QueueMetrics, figureNames[pair[0]], part, contract.QueueMetrics, figureNames[pair[1]], whole)
		}
	}
	return nil
}
