package apiserver

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// kubectl returns a function that runs kubectl against the shared server with stdin, and returns its output.
func kubectl(t *testing.T) func(stdin string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not on PATH")
	}
	home := t.TempDir() // its discovery cache
	return func(stdin string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, append([]string{"--kubeconfig", shared.Kubeconfig(), "--cache-dir", home}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

func TestKubectl(t *testing.T) {
	t.Parallel()
	run := kubectl(t)
	manifest := filepath.Join(t.TempDir(), "hello.yaml")
	if err := os.WriteFile(manifest, []byte("---\n"+service), 0o600); err != nil {
		t.Fatal(err)
	}
	// Each step starts from the state after the one before.
	for _, step := range []struct {
		args string
		want []string // all of them are in the output
	}{
		{"version", []string{"Server Version: v1."}},
		{"apply -n k -f " + manifest, []string{"service.serving.knative.dev/hello created"}},
		{"apply -n k -f " + manifest,
			[]string{"service.serving.knative.dev/hello configured"}}, // as with Knative: the container's defaults differ
		{"apply -n k --server-side --force-conflicts -f " + manifest, []string{"service.serving.knative.dev/hello serverside-applied"}},
		{"get -n k ksvc", []string{"NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON", "hello"}},
		{"get -n k all", []string{"service.serving.knative.dev/hello"}},
		{"get -n k ksvc hello -o jsonpath={.metadata.generation}{.spec.traffic[0].percent}", []string{"1100"}},
		{"patch -n k ksvc hello --subresource=status --type=merge -p " +
			"{\"status\":{\"url\":\"http://hello\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"Because\"}]}}",
			[]string{"patched"}},
		{"get -n k kservice", []string{"http://hello", "False", "Because"}},
		{"describe -n k ksvc hello", []string{"Because", "user-container"}},
		{"explain ksvc.spec.traffic", []string{"percent", "<integer>", "splits requests between revisions"}},
		{"explain revision.spec.containerConcurrency", []string{"how many requests one replica may have at a time"}},
		{"get cfg,rt,rev -n k", []string{"No resources found"}},
		{"delete -n k ksvc hello", []string{"deleted"}},
	} {
		out, err := run("", strings.Fields(step.args)...)
		if err != nil {
			t.Errorf("kubectl %s: %v\n%s", step.args, err, out)
			continue
		}
		for _, want := range step.want {
			if !strings.Contains(out, want) {
				t.Errorf("kubectl %s: no %q in\n%s", step.args, want, out)
			}
		}
	}
}

func TestKubectlSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	run := kubectl(t)
	if out, err := run("", "get", "-n", "elsewhere", "ksvc", "nothing"); err == nil ||
		!strings.Contains(out, `services.serving.knative.dev "nothing" not found`) {
		t.Errorf("a missing object: error %v\n%s", err, out)
	}
	for name, test := range map[string]struct{ manifest, want string }{
		"bad traffic": {strings.Replace(service, "spec: {template", "spec: {traffic: [{percent: 90}], template", 1),
			"Traffic targets sum to 90, want 100"},
		"an unknown field": {strings.Replace(service, "spec: {template", "spec: {split: [], template", 1), `unknown field "spec.split"`},
		"no manifest":      {"{", "error"},
	} {
		out, err := run("---\n"+test.manifest, "apply", "-f", "-")
		if err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%s: error %v, no %q in\n%s", name, err, test.want, out)
		}
	}
}

func TestKubectlWatches(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not on PATH")
	}
	c := objects(t, shared, "services", "kubectl-watch")
	create(t, c, service)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--kubeconfig", shared.Kubeconfig(), "--cache-dir", t.TempDir(), "get", "-n", "kubectl-watch",
		"ksvc", "-w", "--no-headers")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	for _, url := range []string{"", "http://first", "http://second"} {
		if url != "" {
			patch := `{"status":{"url":"` + url + `"}}`
			if _, err := c.Patch(ctx, "hello", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
				t.Fatal(err)
			}
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), url) {
			t.Fatalf("got line %q, want one with %q", lines.Text(), url)
		}
	}
}
