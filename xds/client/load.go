package client

import (
	"context"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"sluice.dev/sluice/contract"
)

// ClusterLoad is the load of one cluster's endpoints in one zone since the last report.
type ClusterLoad struct {
	Cluster, Zone string

	Issued, Succeeded, Failed uint64 // requests in that time
	InProgress                uint64 // requests now

	Concurrency float64 // request-seconds in that time, streams included
	Streams     float64 // stream-seconds in that time: the part of Concurrency that upgraded connections and gRPC calls have
	Waiting     float64 // requests that wait for an endpoint now
	Oldest      float64 // for how long the first of them has waited, in seconds; 0 where that is not told
}

const (
	// defaultReportInterval is for a server that gives no interval.
	defaultReportInterval = time.Second
	// minReportInterval bounds the interval that a server may give.
	minReportInterval = 10 * time.Millisecond
	// ReportLoad sends up to reportBurst reports at once, and then maxReports a second: as many as the server takes without making this
	// client wait.
	maxReports  = 200
	reportBurst = 50
)

// ReportLoad has the client report its load at once instead of when it would be due. It never blocks. Until the report is made,
// calling it again changes nothing.
func (c *Client) ReportLoad() { put(c.report) }

type loadStream = load_statsv3.LoadReportingService_StreamLoadStatsClient

// reporter reports load. One goroutine (follow) owns it.
type reporter struct {
	client *Client
	conn   *grpc.ClientConn
	last   time.Time // when Load was called last
	pace   *rate.Limiter
}

// follow runs one stream to its end, and reports whether the server answered at all. It sends the first report as soon as the server
// has answered, because a server that has just started knows nothing yet.
func (r *reporter) follow(ctx context.Context) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := load_statsv3.NewLoadReportingServiceClient(r.conn).StreamLoadStats(ctx)
	if err != nil {
		return false, fmt.Errorf("opening the load stream: %w", err)
	}
	// Sending fails only because the stream is over. Receiving fails with the reason.
	_ = stream.Send(&load_statsv3.LoadStatsRequest{Node: r.client.node()})
	answer, err := stream.Recv()
	if err != nil {
		return false, fmt.Errorf("waiting for the load report interval: %w", err)
	}
	intervals := make(chan time.Duration)
	failed := make(chan error, 1)
	go func() { failed <- receiveIntervals(ctx, stream, intervals) }()
	return true, r.reports(ctx, stream, intervalOf(answer), intervals, failed)
}

// reports sends reports until the stream fails.
func (r *reporter) reports(
	ctx context.Context, stream loadStream, every time.Duration, intervals <-chan time.Duration, failed <-chan error,
) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case every = <-intervals:
			timer.Reset(every)
			continue
		case <-timer.C:
		case <-r.client.report:
			if r.pace.Wait(ctx) != nil {
				return ctx.Err()
			}
			select {
			case <-r.client.report: // called again in the meantime: one report serves both
			default:
			}
		}
		if stream.Send(r.next()) != nil {
			return reason(intervals, failed)
		}
		timer.Reset(every)
	}
}

// reason is the error of receiving.
func reason(intervals <-chan time.Duration, failed <-chan error) error {
	for {
		select {
		case <-intervals:
		case err := <-failed:
			return err
		}
	}
}

// next is the report on the time since the last one.
func (r *reporter) next() *load_statsv3.LoadStatsRequest {
	loads := r.client.config.Load()
	now := time.Now()
	interval := durationpb.New(max(now.Sub(r.last), time.Microsecond))
	r.last = now
	request := &load_statsv3.LoadStatsRequest{}
	clusters := make(map[string]*endpointv3.ClusterStats, len(loads))
	for i := range loads {
		l := &loads[i]
		stats := clusters[l.Cluster]
		if stats == nil {
			stats = &endpointv3.ClusterStats{ClusterName: l.Cluster, LoadReportInterval: interval}
			clusters[l.Cluster] = stats
			request.ClusterStats = append(request.ClusterStats, stats)
		}
		stats.UpstreamLocalityStats = append(stats.UpstreamLocalityStats, l.stats())
	}
	return request
}

func (l *ClusterLoad) stats() *endpointv3.UpstreamLocalityStats {
	stats := &endpointv3.UpstreamLocalityStats{
		Locality:                &corev3.Locality{Zone: l.Zone},
		TotalIssuedRequests:     l.Issued,
		TotalSuccessfulRequests: l.Succeeded,
		TotalErrorRequests:      l.Failed,
		TotalRequestsInProgress: l.InProgress,
	}
	add := func(name string, total float64) {
		stats.LoadMetricStats = append(stats.LoadMetricStats,
			&endpointv3.EndpointLoadMetricStats{MetricName: name, TotalMetricValue: total})
	}
	add(contract.LoadConcurrency, l.Concurrency)
	if l.Streams != 0 {
		add(contract.LoadStreams, l.Streams)
	}
	if l.Waiting != 0 {
		add(contract.LoadWaiting, l.Waiting)
	}
	if l.Oldest != 0 {
		add(contract.LoadOldest, l.Oldest)
	}
	return stats
}

// receiveIntervals passes on the intervals that the server gives, until the stream or ctx ends.
func receiveIntervals(ctx context.Context, stream loadStream, to chan<- time.Duration) error {
	for {
		answer, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		select {
		case to <- intervalOf(answer):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func intervalOf(answer *load_statsv3.LoadStatsResponse) time.Duration {
	d := answer.GetLoadReportingInterval()
	if d.CheckValid() != nil || d.AsDuration() <= 0 {
		return defaultReportInterval
	}
	return max(d.AsDuration(), minReportInterval)
}
