package xds_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// paper is a log that may be read while it is written.
type paper struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *paper) read() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// TestLogIsNotTheClientsToFill: what a client says of a refusal is logged as the beginning of one line.
func TestLogIsNotTheClientsToFill(t *testing.T) {
	log := &paper{}
	r := serve(t, xds.Options{Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
	r.set(cluster("c", "new"))
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.ClusterType, "*")
	c.nack(c.next(), "it is wrong:\n"+strings.Repeat("wrong ", 10_000))
	eventually(t, "the refusal is logged", func() bool { return strings.Contains(log.read(), "client refuses resources") })
	for line := range strings.Lines(log.read()) {
		if strings.Contains(line, "refuses resources") && (!strings.Contains(line, "it is wrong: wrong wrong") || len(line) > 1000) {
			t.Errorf("%d bytes are logged: %.100s", len(line), line)
		}
	}
}
