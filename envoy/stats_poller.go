package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// statsTimeout bounds the answer to one poll.
	statsTimeout = 3 * time.Second
	// maxStats bounds a page in bytes: 10,000 clusters of the built-in gateway, which does not filter, have 15 MiB.
	maxStats = 32 << 20
)

var errStatsMoved = errors.New("it redirects, want the page itself")

// ClusterLoad is the load of one cluster between two polls. See ClusterStats for its limits.
type ClusterLoad struct {
	Cluster string
	// Concurrency is how many requests are in progress or wait for a connection now: Envoy has no average.
	Concurrency float64
	// Requests is how many there were per second since the last poll. It is 0 while Fresh is false: there is no earlier value at the first
	// poll, for a new cluster, and after a restart of Envoy.
	Requests float64
	Fresh    bool
}

// StatsPoller reads the load of all clusters from an Envoy's admin interface, where load reports (LRS) cannot be used.
// It is made by NewStatsPoller and used by one goroutine at a time.
type StatsPoller struct {
	address string // as it was given
	client  *http.Client
	last    map[string]ClusterStats
	at      time.Time // of last
}

// NewStatsPoller returns a poller of the Envoy whose admin interface is at address (host:port, or unix: and the path of a socket).
func NewStatsPoller(address string) *StatsPoller {
	return &StatsPoller{address: address, client: &http.Client{
		Transport:     AdminTransport(address),
		CheckRedirect: func(*http.Request, []*http.Request) error { return errStatsMoved },
	}}
}

// Poll reads the load of all clusters, sorted by name. After an error the next poll compares with the last successful one.
func (p *StatsPoller) Poll(ctx context.Context) ([]ClusterLoad, error) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	where := url.URL{Scheme: "http", Host: AdminHost(p.address), Path: "/stats/prometheus",
		RawQuery: url.Values{"filter": {statFilter}}.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy at %s for its stats: %w", p.address, err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy at %s for its stats: %w", p.address, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking Envoy at %s for its stats: got status %d, want 200", p.address, response.StatusCode)
	}
	now := time.Now()
	page := &io.LimitedReader{R: response.Body, N: maxStats + 1}
	stats, err := ParseStats(page)
	if page.N == 0 {
		err = fmt.Errorf("got more than %d bytes", maxStats)
	}
	if err != nil {
		return nil, fmt.Errorf("asking Envoy at %s for its stats: %w", p.address, err)
	}
	return p.compare(stats, now), nil
}

// Close closes the idle connection.
func (p *StatsPoller) Close() { p.client.CloseIdleConnections() }

func (p *StatsPoller) compare(stats []ClusterStats, now time.Time) []ClusterLoad {
	seconds := now.Sub(p.at).Seconds()
	last := p.last
	p.last, p.at = make(map[string]ClusterStats, len(stats)), now
	loads := make([]ClusterLoad, 0, len(stats))
	for _, s := range stats {
		load := ClusterLoad{Cluster: s.Cluster, Concurrency: float64(s.Active + s.Pending)}
		if before, known := last[s.Cluster]; known && s.Total >= before.Total && seconds > 0 {
			load.Requests, load.Fresh = float64(s.Total-before.Total)/seconds, true
		}
		p.last[s.Cluster] = s
		loads = append(loads, load)
	}
	return loads
}
