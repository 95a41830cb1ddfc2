package feature

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/address"
)

// These tests are about the two forms of routes: sluice up --routes scoped, the default, and inline.

// takes waits until the config dump of a gateway has a listener with routes in this form.
func takes(t *testing.T, s *instance, form string) {
	t.Helper()
	eventually(t, "the gateway has its routes "+form, func() error {
		_, text, err := s.admined("/config_dump")
		if err != nil {
			return err
		}
		var dump struct {
			Configs []struct {
				Listeners []struct {
					Name   string          `json:"name"`
					Active json.RawMessage `json:"active_state"`
				} `json:"dynamic_listeners"`
			} `json:"configs"`
		}
		if err := json.Unmarshal([]byte(text), &dump); err != nil {
			return err
		}
		field := map[string]string{"scoped": `"scoped_routes"`, "inline": `"rds"`}[form]
		for _, c := range dump.Configs {
			for _, l := range c.Listeners {
				if l.Name == "http" && bytes.Contains(l.Active, []byte(field)) {
					return nil
				}
			}
		}
		return fmt.Errorf("no listener has %s in %.2000s", field, text)
	})
}

func TestNoRequestFailsWhileScopesChange(t *testing.T) {
	onEachGateway(t, noRequestFailsWhileScopesChange)
}

func noRequestFailsWhileScopesChange(t *testing.T, g gateway) {
	changes := 100
	if testing.Short() {
		changes = 20
	}
	s := g.up(t, "-f", absolute(t, "examples/canary"))
	s.waitFor("2-green.yaml")
	s.ready("hello")
	takes(t, s, "scoped")
	l := s.startLoad(host, 16)
	for i := range changes {
		switch i % 10 {
		case 0: // a new revision that gets a share, and loses it with the next change
			name := fmt.Sprintf("hello-n%d", i)
			s.change("hello", func(o *servingv1.Service) {
				o.Spec.Template.Metadata.Name = name
				o.Spec.Template.Spec.Containers[0].Env[0].Value = name
				o.Spec.Traffic = servingv1.Traffic{target("hello-blue", "", 50), target(name, "", 50)}
			})
			s.ready("hello")
		case 5: // a new scope, which the next change removes
			s.change("hello", func(o *servingv1.Service) {
				o.Spec.Traffic = servingv1.Traffic{target("hello-blue", fmt.Sprint("t", i), 50), target("hello-green", "", 50)}
			})
			s.ready("hello")
			if status, body, err := s.get(fmt.Sprintf("t%d-%s", i, host), "/"); err != nil || status != 200 ||
				!strings.Contains(body, "blue") {
				t.Errorf("the host of a new tag answers %d, %v: %s", status, err, body)
			}
		default:
			s.change("hello", split(int64(i*37%101)))
			time.Sleep(10 * time.Millisecond) // between two changes, so that each reaches the gateway
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

// The gateway and the activator are processes of their own, so they keep running while the control plane restarts. The replicas end with
// it, and until they run again activators hold requests.
func TestNoRequestFailsWhenRoutesHaveAnotherFormAfterARestart(t *testing.T) {
	onEachGateway(t, noRequestFailsWhenRoutesHaveAnotherFormAfterARestart)
}

func noRequestFailsWhenRoutesHaveAnotherFormAfterARestart(t *testing.T, g gateway) {
	s := g.up(t, "--gateway", "none", "--activator", "none", "-f", absolute(t, "examples/hello"))
	startActivator(t, s.socket(), address.Free(t))
	gateway := g.beside(t, s.socket())
	s.ready("hello")
	s.admin = gateway.admin
	flags := s.flags
	l := s.startLoad(host, 8)
	for _, form := range []string{"inline", "scoped", "inline", "inline", "scoped"} {
		if code := s.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		s.flags = append(flags[:len(flags):len(flags)], "--routes", form)
		s.start()
		takes(t, s, form)
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

func TestOtherFormsOfRoutesAreRefused(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(sluiceBinary, "up", "--routes", "both").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `--routes "both" is neither scoped nor inline`) {
		t.Errorf("%v: %s", err, out)
	}
	text, _ := run(t, "translate", "-f", absolute(t, "examples/hello"), "--routes", "scoped")
	if !strings.Contains(text, "name: http/hello.default.localhost") {
		t.Errorf("translate does not print the scope:\n%s", text)
	}
}
