package feature

import (
	"fmt"
	"io"
	"math"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/plane"
)

// replicas lists the pids of the processes of a revision of the instance. They have the instance's folder in their environment (PATH
// begins with the data directory's bin).
func (s *instance) replicas() []int {
	s.t.Helper()
	return plane.Replicas(s.t, s.dir, "")
}

func TestEverythingIsBackAfterKill(t *testing.T) { onEachGateway(t, everythingIsBackAfterKill) }

func everythingIsBackAfterKill(t *testing.T, g gateway) {
	s := canary(t, g)
	s.change("hello", split(20))
	s.ready("hello")
	before := s.service("hello")
	// The restarts are without -f: all objects come from the data directory.
	s.flags = slices.DeleteFunc(s.flags, func(f string) bool { return f == "-f" || strings.HasSuffix(f, "examples/canary") })
	for round := range 3 {
		old := s.replicas()
		if len(old) != 2 {
			t.Fatalf("round %d: %d replicas run, want 2", round, len(old))
		}
		s.kill()
		s.start()
		after := s.service("hello")
		if after.Generation != before.Generation || after.UID != before.UID || after.Status.URL != before.Status.URL {
			t.Errorf("round %d: the Service has changed: %+v", round, after)
		}
		// At once: revisions that ran before run again when Sluice is ready.
		for _, tag := range []string{"blue", "green"} {
			if status, body, err := s.get(tag+"-"+host, "/"); err != nil || status != 200 {
				t.Errorf("round %d: %s answers %d, %v: %s", round, tag, status, err, body)
			}
		}
		if got := s.shares(1000, host, "blue", "green"); math.Abs(got["blue"]-20) > 5 {
			t.Errorf("round %d: requests are split %v, want 20 to 80", round, got)
		}
		eventually(t, "no old replica is left", func() error {
			now := s.replicas()
			for _, pid := range old {
				if slices.Contains(now, pid) {
					return fmt.Errorf("%d of the killed run still runs", pid)
				}
			}
			if len(now) != 2 {
				return fmt.Errorf("%d replicas run, want 2", len(now))
			}
			return nil
		})
	}
}

func TestKillWhileStartingHarmsNothing(t *testing.T) { onEachGateway(t, killWhileStartingHarmsNothing) }

func killWhileStartingHarmsNothing(t *testing.T, g gateway) {
	s := canary(t, g)
	before := s.service("hello")
	s.flags = slices.DeleteFunc(s.flags, func(f string) bool { return f == "-f" || strings.HasSuffix(f, "examples/canary") })
	for _, after := range []time.Duration{50, 200, 350, 500, 700, 900} {
		s.kill()
		s.launch()
		time.Sleep(after * time.Millisecond) // this chooses the moment of the kill
	}
	s.kill()
	s.start()
	if after := s.service("hello"); after.UID != before.UID || after.Generation != before.Generation {
		t.Errorf("the Service was %s in generation %d and is %s in %d", before.UID, before.Generation, after.UID, after.Generation)
	}
	eventually(t, "it answers, by two replicas in all", func() error {
		if status, body, err := s.get(host, "/"); err != nil || status != 200 {
			return fmt.Errorf("status %d, %s: %w", status, body, err)
		}
		if n := len(s.replicas()); n != 2 {
			return fmt.Errorf("%d replicas", n)
		}
		return nil
	})
}

func TestNoAcknowledgedWriteIsLostByKill(t *testing.T) {
	t.Parallel()
	s := up(t)
	written := 0
	killed := make(chan struct{})
	for {
		if written == 50 { // the kill comes during further writes
			go func() { s.kill(); close(killed) }()
		}
		o := &servingv1.Configuration{}
		o.Namespace, o.Name = "default", fmt.Sprintf("c%d", written)
		// The command does not exist, so no process starts: this test is about objects.
		o.Spec.Template.Spec.Containers = []servingv1.Container{{Image: "x", Command: []string{"/nowhere"}}}
		if err := s.Create(t.Context(), o); err != nil {
			break
		}
		written++
	}
	<-killed
	s.start()
	var list servingv1.ConfigurationList
	if err := s.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) < written {
		t.Errorf("%d writes were acknowledged before the kill, %d objects are there after it", written, len(list.Items))
	}
}

func TestRestartPrintsTheURLsOfWhatIsThere(t *testing.T) {
	t.Parallel()
	s := embed(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	s.stop()
	s.flags = slices.DeleteFunc(s.flags, func(f string) bool { return f == "-f" || strings.HasSuffix(f, "examples/hello") })
	s.start()
	s.waitFor("default/hello is ready: http://" + host)
	if before, _, _ := strings.Cut(s.printed(), "sluice is ready"); strings.Contains(before, "hello is ready") {
		t.Errorf("a service is ready before sluice is:\n%s", s.printed())
	}
}

func TestStopIsCleanAndLeavesNoProcess(t *testing.T) { onEachGateway(t, stopIsCleanAndLeavesNoProcess) }

func stopIsCleanAndLeavesNoProcess(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0:\n%s", code, s.printed())
	}
	if left := s.replicas(); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestRequestsInFlightFinishWhenStopped(t *testing.T) {
	onEachGateway(t, requestsInFlightFinishWhenStopped)
}

func requestsInFlightFinishWhenStopped(t *testing.T, g gateway) {
	const requests = 8
	s := g.up(t)
	s.create(newApp(t, "hello", nil))
	release := filepath.Join(t.TempDir(), "release")
	type answer struct {
		status int
		err    error
	}
	answers := make(chan answer, requests)
	for range requests {
		go func() {
			status, _, err := s.get(host, "/?until="+release)
			answers <- answer{status, err}
		}()
	}
	eventually(t, "the requests are being served", func() error {
		_, body, err := s.admined("/stats/prometheus")
		if err == nil && !strings.Contains(body,
			fmt.Sprintf(`envoy_cluster_upstream_rq_active{envoy_cluster_name="default/hello-00001"} %d`, requests)) {
			err = fmt.Errorf("not yet in the statistics")
		}
		return err
	})
	stopped := make(chan int, 1)
	go func() { stopped <- s.stop() }()
	s.waitFor("stopping: requests in flight may finish")
	touch(t, release)
	if code := <-stopped; code != 0 {
		t.Errorf("exit code %d", code)
	}
	for range requests {
		if a := <-answers; a.err != nil || a.status != 200 {
			t.Errorf("a request in flight got status %d, %v", a.status, a.err)
		}
	}
}

func TestRequestThatOutlastsTheDrainIsCutAndTheExitIsClean(t *testing.T) {
	onEachGateway(t, requestThatOutlastsTheDrainIsCutAndTheExitIsClean)
}

func requestThatOutlastsTheDrainIsCutAndTheExitIsClean(t *testing.T, g gateway) {
	if testing.Short() {
		t.Skip("skipped: it waits for the whole drain of 30 s")
	}
	s := g.up(t)
	folder := t.TempDir()
	s.create(newApp(t, "hello", nil, "JOURNAL", folder))
	_, clusters, err := s.admined("/clusters")
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`default/hello-00001::(127\.0\.0\.1:\d+)::zone::pods`).FindStringSubmatch(clusters)
	if address == nil {
		t.Fatalf("no address of the replica in %s", clusters)
	}
	// Straight to the replica, as a proxyless client does, so that the gateway's drain does not wait for it.
	conn, err := net.Dial("tcp", address[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /?id=long&until=%s/never HTTP/1.1\r\nHost: %s\r\n\r\n", folder, host); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the application has the request", func() error {
		if began := readJournal(t, folder).began; len(began["long"]) == 0 {
			return fmt.Errorf("it has %v", began)
		}
		return nil
	})
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0:\n%s", code, s.printed())
	}
	if answer, _ := io.ReadAll(conn); len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 50") {
		t.Errorf("a request that never ends is answered %q", answer)
	}
	if left := s.replicas(); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}
