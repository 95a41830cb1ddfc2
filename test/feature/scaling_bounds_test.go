package feature

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stays checks for some time that a Revision's desired replicas stay within bounds.
func (s *instance) stays(revision string, least, most int, during time.Duration) {
	s.t.Helper()
	for over := time.Now().Add(during); time.Now().Before(over); time.Sleep(100 * time.Millisecond) {
		desired := s.revision(revision).Status.DesiredReplicas
		if desired == nil || int(*desired) < least || int(*desired) > most {
			s.t.Fatalf("%s has %s desired replicas, want %d to %d", revision, number(desired), least, most)
		}
	}
}

func TestScaleStaysWithinItsBounds(t *testing.T) { onEachGateway(t, scaleStaysWithinItsBounds) }

func scaleStaysWithinItsBounds(t *testing.T, g gateway) {
	const window, initial = "autoscaling.knative.dev/window", "autoscaling.knative.dev/initial-scale"
	s := g.up(t, "--config", configFile(t, quickToZero))
	s.create(
		newApp(t, "least", map[string]string{window: "6s", "autoscaling.knative.dev/min-scale": "2"}),
		newApp(t, "most", asleep("autoscaling.knative.dev/max-scale", "3", "autoscaling.knative.dev/target", "1"), "MS", "50"),
		newApp(t, "first", map[string]string{window: "6s", initial: "3"}),
	)
	// A new revision becomes ready with its initial scale, not sooner.
	if steps := s.steps("first-00001"); len(steps) == 0 || steps[0].to != 3 {
		t.Errorf("the initial scale is 3, the steps are %+v", steps)
	}
	c := s.newCrowd("most.default.localhost")
	c.size(20)
	s.scaledTo("most-00001", 3)
	s.stays("most-00001", 3, 3, 3*time.Second)
	if why := s.steps("most-00001"); !strings.Contains(why[len(why)-1].why, "max-scale allows no more") {
		t.Errorf("the last step of a revision at its max-scale says %q", why[len(why)-1].why)
	}
	if _, failed := c.end(); len(failed) > 0 {
		t.Errorf("%d requests failed at max-scale, the first: %s", len(failed), failed[0])
	}
	s.scaledTo("first-00001", 0) // the initial scale does not hold later
	s.scaledTo("most-00001", 0)
	s.scaledTo("least-00001", 2) // it had two replicas all the time
	for _, step := range s.steps("least-00001") {
		if step.to < 2 {
			t.Errorf("min-scale is 2, but there was a step to %d: %s", step.to, step.why)
		}
	}
}

func TestOneReplicaStaysWhereScaleToZeroIsOff(t *testing.T) {
	onEachGateway(t, oneReplicaStaysWhereScaleToZeroIsOff)
}

func oneReplicaStaysWhereScaleToZeroIsOff(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, "enable-scale-to-zero: \"false\"\nscale-to-zero-grace-period: 1s\n"))
	s.create(newApp(t, "awake", map[string]string{
		"autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/initial-scale": "2",
	}))
	s.scaledTo("awake-00001", 1)
	s.stays("awake-00001", 1, 1, 6*time.Second) // longer than the grace period
	if status, body, err := s.get("awake.default.localhost", "/"); err != nil || status != 200 {
		t.Errorf("status %d, %v: %s", status, err, body)
	}
}

// With metrics-source envoy the replicas have no queue-proxy, and the revision scales by the load that the gateway reports over LRS.
func TestRevisionScalesByWhatTheGatewayReports(t *testing.T) {
	onEachGateway(t, revisionScalesByWhatTheGatewayReports)
}

func revisionScalesByWhatTheGatewayReports(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	working := filepath.Join(t.TempDir(), "working")
	s.create(newApp(t, "plain", asleep("sluice.dev/metrics-source", "envoy", "autoscaling.knative.dev/target", "10",
		"autoscaling.knative.dev/target-burst-capacity", "0"), "MS", "100", "UNTIL", working))
	c := s.newCrowd("plain.default.localhost")
	c.size(35)
	s.scaledTo("plain-00001", 5) // 35 requests at 70 % of 10
	if v, ok := ofRevision(s.figures("sluice_autoscaler_"), "sluice_autoscaler_by_activator", "plain-00001"); !ok || v != 0 {
		t.Errorf("by_activator is %v, %v while the replicas have room: the load was not the gateway's", v, ok)
	}
	touch(t, working) // until now no request was answered, so there were always 35
	s.withoutQueueProxy("plain-00001", 5)
	if _, failed := c.end(); len(failed) > 0 {
		t.Errorf("%d requests failed, the first: %s", len(failed), failed[0])
	}
	s.scaledTo("plain-00001", 0)
}

// withoutQueueProxy checks that the endpoints of a revision are the applications themselves: they answer a request for another revision,
// which a queue-proxy would refuse.
func (s *instance) withoutQueueProxy(revision string, endpoints int) {
	s.t.Helper()
	_, clusters, err := s.admined("/clusters")
	if err != nil {
		s.t.Fatal(err)
	}
	found := regexp.MustCompile(`default/`+revision+`::(127\.0\.0\.1:\d+)::zone::pods`).FindAllStringSubmatch(clusters, -1)
	if len(found) != endpoints {
		s.t.Errorf("the gateway knows %d endpoints of %s, want %d:\n%s", len(found), revision, endpoints, clusters)
	}
	for _, m := range found {
		request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+m[1]+"/", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		request.Header.Set("Knative-Serving-Namespace", "default")
		request.Header.Set("Knative-Serving-Revision", "other")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			s.t.Fatal(err)
		}
		response.Body.Close()
		if response.Header.Get("App-Process") == "" {
			s.t.Errorf("%s is a queue-proxy", m[1])
		}
	}
}

func TestRestartContinuesFromTheLastScale(t *testing.T) {
	onEachGateway(t, restartContinuesFromTheLastScale)
}

func restartContinuesFromTheLastScale(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	s.create(
		newApp(t, "busy", map[string]string{"autoscaling.knative.dev/target": "1", "autoscaling.knative.dev/max-scale": "4"}, "MS", "50"),
		newApp(t, "idle", asleep()),
	)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		c := s.newCrowd("busy.default.localhost")
		c.size(12)
		s.scaledTo("busy-00001", 4)
		s.scaledTo("idle-00001", 0)
		if _, failed := c.end(); len(failed) > 0 {
			t.Errorf("%d requests failed, the first: %s", len(failed), failed[0])
		}
		if signal == syscall.SIGKILL {
			s.kill()
		} else if code := s.stop(); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		s.start()
		for name, want := range map[string]string{"busy": "4", "idle": "0"} {
			steps := s.steps(name + "-00001")
			if got := fmt.Sprint(firstScale(steps)); got != want {
				t.Errorf("%v: %s had %s replicas and starts with %s: %+v", signal, name, want, got, steps)
			}
		}
		// At once; and a revision at zero stays there until a request comes.
		if status, body, err := s.get("busy.default.localhost", "/"); err != nil || status != 200 {
			t.Errorf("%v: busy answers %d, %v: %s", signal, status, err, body)
		}
		s.scaledTo("busy-00001", 4)
		s.stays("idle-00001", 0, 0, time.Second)
		if status, body, err := s.get("idle.default.localhost", "/"); err != nil || status != 200 {
			t.Errorf("%v: idle answers %d, %v: %s", signal, status, err, body)
		}
		// The status follows. Until it counts this replica, its zero is the one from before.
		eventually(t, "the status says that idle was woken", func() error {
			steps := s.steps("idle-00001")
			if status := s.revision("idle-00001").Status; number(status.ActualReplicas) != "1" &&
				(len(steps) == 0 || steps[len(steps)-1].to != 0) {
				return fmt.Errorf("%s replicas, steps %+v", number(status.ActualReplicas), steps)
			}
			return nil
		})
	}
}

// firstScale returns the number of replicas after the first step since the start; zero if there was none.
func firstScale(steps []scaleStep) int {
	if len(steps) == 0 {
		return 0
	}
	return steps[0].to
}
