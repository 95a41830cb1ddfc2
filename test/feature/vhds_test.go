package feature

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/address"
)

// Virtual hosts as resources of their own: sluice up --virtual-hosts vhds.

// discovers checks how a gateway has its virtual hosts, by what its admin address dumps.
func discovers(t *testing.T, s *instance, mode string) {
	t.Helper()
	eventually(t, "the gateway has its virtual hosts "+mode, func() error {
		_, dump, err := s.admined("/config_dump")
		if err != nil {
			return err
		}
		name := map[string]string{"vhds": `"http/default:hello"`, "inline": `"default/hello"`}[mode]
		routes := dump[strings.Index(dump, "RoutesConfigDump"):]
		if !strings.Contains(routes, name) || strings.Contains(routes, `"vhds"`) != (mode == "vhds") {
			return fmt.Errorf("no %s in %.2000s", name, routes)
		}
		return nil
	})
}

func TestNoRequestFailsWhileDiscoveredVirtualHostsChange(t *testing.T) {
	onEachGateway(t, noRequestFailsWhileDiscoveredVirtualHostsChange)
}

func noRequestFailsWhileDiscoveredVirtualHostsChange(t *testing.T, g gateway) {
	changes := 100
	if testing.Short() {
		changes = 20
	}
	s := g.up(t, "--virtual-hosts", "vhds", "-f", absolute(t, "examples/canary"))
	s.waitFor("2-green.yaml")
	s.ready("hello")
	discovers(t, s, "vhds")
	l := s.startLoad(host, 16)
	for i := range changes {
		switch i % 10 {
		case 0: // a new revision that takes a share, and leaves it again with the next change
			name := fmt.Sprintf("hello-n%d", i)
			s.change("hello", func(o *servingv1.Service) {
				o.Spec.Template.Metadata.Name = name
				o.Spec.Template.Spec.Containers[0].Env[0].Value = name
				o.Spec.Traffic = servingv1.Traffic{target("hello-blue", "", 50), target(name, "", 50)}
			})
			s.ready("hello")
		case 5: // a virtual host comes, and goes with the next change
			s.change("hello", func(o *servingv1.Service) {
				o.Spec.Traffic = servingv1.Traffic{target("hello-blue", fmt.Sprint("t", i), 50), target("hello-green", "", 50)}
			})
			s.ready("hello")
			if status, body, err := s.get(fmt.Sprintf("t%d-%s", i, host), "/"); err != nil || status != 200 || !strings.Contains(body, "blue") {
				t.Errorf("the host of a new tag answers %d, %v: %s", status, err, body)
			}
		default:
			s.change("hello", split(int64(i*37%101)))
			time.Sleep(10 * time.Millisecond) // the steady pace of changes, so that each reaches the gateway
		}
	}
	s.change("hello", split(100))
	s.ready("hello")
	if got := s.shares(200, host, "blue", "green"); got["blue"] != 100 {
		t.Errorf("after the last change requests are split %v", got)
	}
	l.reaches(t, 200)
	answered, failed := l.stop()
	if len(failed) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(failed), answered, failed[0])
	}
	s.answers("t5-"+host, 404) // the tag is gone
}

// The gateway and the activator are processes of their own, so that they stay while the control plane goes and comes back. The
// replicas do not: until they are there again, activators hold what comes.
func TestNoRequestFailsWhenVirtualHostsTravelOtherwiseAfterARestart(t *testing.T) {
	onEachGateway(t, noRequestFailsWhenVirtualHostsTravelOtherwiseAfterARestart)
}

func noRequestFailsWhenVirtualHostsTravelOtherwiseAfterARestart(t *testing.T, g gateway) {
	s := g.up(t, "--gateway", "none", "--activator", "none", "-f", absolute(t, "examples/hello"))
	startActivator(t, s.xds, address.Free(t))
	gateway := g.beside(t, s.xds)
	s.ready("hello")
	s.admin = gateway.admin
	flags := s.flags
	l := s.startLoad(host, 8)
	for _, mode := range []string{"vhds", "inline", "vhds", "vhds", "inline"} {
		if code := s.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		s.flags = append(flags[:len(flags):len(flags)], "--virtual-hosts", mode)
		s.start()
		discovers(t, s, mode)
		s.ready("hello")
		eventually(t, "it answers", func() error {
			status, _, err := s.get(host, "/")
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			return err
		})
	}
	l.reaches(t, 50)
	answered, failed := l.stop()
	if len(failed) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(failed), answered, failed[0])
	}
	t.Logf("%d requests, %d failed", answered, len(failed))
}

func TestOtherVirtualHostsAreRefused(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(sluiceBinary, "up", "--virtual-hosts", "both").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `--virtual-hosts "both" is neither inline nor vhds`) {
		t.Errorf("%v: %s", err, out)
	}
	text, _ := run(t, "translate", "-f", absolute(t, "examples/hello"), "--virtual-hosts", "vhds")
	if !strings.Contains(text, "name: http/default:hello") {
		t.Errorf("translate does not print the virtual host:\n%s", text)
	}
}
