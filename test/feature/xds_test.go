package feature

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// inspect runs `sluice xds` against the instance and returns what it prints and its exit code.
func (s *instance) inspect(args ...string) (string, int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), sluiceBinary, append([]string{"xds"}, args...)...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestWhatEachClientHasIsShown(t *testing.T) { onEachGateway(t, whatEachClientHasIsShown) }

func whatEachClientHasIsShown(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	if status, body, err := s.get(host, "/"); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, body, err)
	}
	if out, code := s.inspect("diff", "--wait", patience.String()); code != 0 || strings.Count(out, "no difference") != 2 {
		t.Fatalf("the gateway and the activator are not in sync: %d %s", code, out)
	}
	out, code := s.inspect("status")
	if code != 0 || !strings.Contains(out, "activator-") || !strings.Contains(out, "gateway-") || strings.Contains(out, "mesh") {
		t.Errorf("status: %d %s", code, out)
	}
	if out, code = s.inspect("dump", "gateway", "-t", "srds"); code != 0 || !strings.Contains(out, host+"\n") {
		t.Errorf("the host is not in the dump: %d %s", code, out)
	}
	if out, code = s.inspect("dump", "nobody"); code == 0 || !strings.Contains(out, `client "nobody" is not connected`) {
		t.Errorf("an unknown client: %d %s", code, out)
	}
	if _, text, err := s.admined("/metrics"); err != nil || !strings.Contains(text, `sluice_xds_clients{role="gateway"} 1`) ||
		!strings.Contains(text, `sluice_xds_acknowledgement_seconds_count{role="gateway"}`) ||
		!strings.Contains(text, `sluice_xds_nacks_total{type="cds"} 0`) {
		t.Errorf("the metrics of xDS are not there: %v %s", err, text)
	}
}

func TestRejectionIsShownWithTheClientsText(t *testing.T) {
	t.Parallel()
	s := embed(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	c := client.New(client.Config{Target: s.socket(), NodeID: "picky", Role: "gateway", Handler: func(u client.Update) error {
		for _, r := range u.Set {
			if strings.HasPrefix(r.Name, "default/") {
				return fmt.Errorf("cluster %s: not for me", r.Name)
			}
		}
		return nil
	}})
	c.Subscribe(resource.ClusterType, client.Wildcard)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	eventually(t, "the rejection is shown", func() error {
		out, code := s.inspect("status", "picky")
		if code != 0 || !strings.Contains(out, "is rejected: cluster default/hello-00001: not for me") {
			return fmt.Errorf("status: %d %s", code, out)
		}
		return nil
	})
	out, code := s.inspect("diff", "picky")
	if code != 1 || !strings.Contains(out, "rejected CDS default/hello-00001") ||
		!strings.Contains(out, "the client says: cluster default/hello-00001: not for me") {
		t.Errorf("diff: %d %s", code, out)
	}
	if out, code = s.inspect("diff", "gateway-"); code != 0 {
		t.Errorf("the other gateway differs too: %d %s", code, out)
	}
}
