package xds_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/test/output"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// The server logs the beginning of a NACK's text, in one line.
func TestClientCannotFillTheLog(t *testing.T) {
	log := &output.Buffer{}
	r := serve(t, xds.Options{Logger: hclog.New(&hclog.LoggerOptions{Output: log})})
	r.set(cluster("c", "new"))
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.ClusterType, "*")
	c.nack(c.next(), "it is wrong:\n"+strings.Repeat("wrong ", 10_000))
	eventually(t, "the NACK is logged", func() bool { return strings.Contains(log.String(), "client NACKs resources") })
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "NACKs resources") && (!strings.Contains(line, "it is wrong: wrong wrong") || len(line) > 1000) {
			t.Errorf("%d bytes are logged: %.100s", len(line), line)
		}
	}
}
