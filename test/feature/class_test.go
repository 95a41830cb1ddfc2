package feature

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// TestAnotherControllerOwnsAClass runs examples/class beside a sluice up.
func TestAnotherControllerOwnsAClass(t *testing.T) {
	s := embed(t, "-f", absolute(t, "examples/class/service.yaml"), "--config", configFile(t, quickToZero))
	s.ready("mine")
	dir := t.TempDir()
	program, work := filepath.Join(dir, "class"), filepath.Join(dir, "work.txt")
	if out, err := exec.Command("go", "build", "-o", program, absolute(t, "examples/class/main.go")).CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v: %s", err, out)
	}
	lines := func(n int) {
		t.Helper()
		if err := os.WriteFile(work, []byte(strings.Repeat("a line\n", n)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines(3)
	controller := exec.Command(program, "--file", work, "--every", "100ms")
	controller.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig())
	controller.Stdout, controller.Stderr = t.Output(), t.Output()
	if err := controller.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = controller.Process.Kill()
		_ = controller.Wait()
	})
	s.scaledTo("mine-00001", 3)
	if why := s.revision("mine-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]; !strings.Contains(why,
		"lines.example.com asks for 3") {
		t.Errorf("the why is %q", why)
	}
	lines(20) // more than max-scale
	s.scaledTo("mine-00001", 10)
	lines(0)
	s.scaledTo("mine-00001", 0)
	if status, body, err := s.get("mine.default.localhost", "/"); err != nil || status != 200 {
		t.Errorf("a request at zero gets status %d, %v: %s", status, err, body)
	}
	s.scaledTo("mine-00001", 0) // what its owner still says
}
