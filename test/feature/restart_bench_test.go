package feature

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/xds/status"
)

// BenchmarkRestart kills `sluice up` with 5,000 Routes and starts it again, while a gateway and an activator keep running. It measures
// the time from the start until the gateway has acknowledged everything, and how many bytes the server has sent it for that.
func BenchmarkRestart(b *testing.B) {
	for _, g := range gateways {
		b.Run(g.name, func(b *testing.B) {
			s := g.up(b, "--log-level", "warn", "--gateway", "none", "--activator", "none")
			startActivator(b, s.socket(), address.Free(b))
			g.beside(b, s.socket())
			s.fill(b, 50, 5000)
			var all []time.Duration
			sent := uint64(0)
			for b.Loop() {
				s.kill()
				begin := time.Now()
				s.start()
				sent += s.untilAcknowledged(b)
				all = append(all, time.Since(begin))
			}
			percentiles(b, "start-ack", all)
			b.ReportMetric(float64(sent)/float64(len(all)), "B/restart")
		})
	}
}

// untilAcknowledged waits until the gateway has acknowledged the newest state, and returns how many bytes this server has sent it.
func (s *instance) untilAcknowledged(b *testing.B) (sent uint64) {
	b.Helper()
	conn, err := grpc.NewClient(s.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		clients, err := status.Ask(b.Context(), conn, status.Query{Counts: true})
		if err != nil {
			continue // the server has no World yet
		}
		for _, c := range clients {
			if c.Role == "gateway" && c.Newest > 0 && c.Sequence == c.Newest && !c.Unknown {
				return c.Bytes
			}
		}
	}
	b.Fatalf("the gateway has not acknowledged everything after %v", patience)
	return 0
}
