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

// logBuffer is a log that a test reads while the server writes it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *logBuffer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *logBuffer) read() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// The server logs the beginning of a NACK's text, in one line.
func TestClientCannotFillTheLog(t *testing.T) {
	log := &logBuffer{}
	r := serve(t, xds.Options{Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
	r.set(cluster("c", "new"))
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.ClusterType, "*")
	c.nack(c.next(), "it is wrong:\n"+strings.Repeat("wrong ", 10_000))
	eventually(t, "the NACK is logged", func() bool { return strings.Contains(log.read(), "client NACKs resources") })
	for line := range strings.Lines(log.read()) {
		if strings.Contains(line, "NACKs resources") && (!strings.Contains(line, "it is wrong: wrong wrong") || len(line) > 1000) {
			t.Errorf("%d bytes are logged: %.100s", len(line), line)
		}
	}
}
