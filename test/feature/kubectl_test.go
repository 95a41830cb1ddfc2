package feature

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/test/output"
)

const hello = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    spec:
      containers:
        - image: sluice.local/sample
          command: [sluice, sample]
          env: [{name: TARGET, value: one}]
`

func TestKubectlAppliesShowsAndDeletes(t *testing.T) {
	t.Parallel()
	s := embed(t)
	run := func(stdin string, args ...string) string {
		t.Helper()
		return must(t)(s.kubectl(stdin, args...))
	}
	contains := func(out string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	}
	contains(run(hello, "apply", "-f", "-"), "service.serving.knative.dev/hello created")
	run("", "wait", "ksvc/hello", "--for=condition=Ready", "--timeout=2m")
	contains(run("", "get", "ksvc"), "NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON", "http://hello.default.localhost",
		"hello-00001", "True")
	contains(run("", "get", "rev"), "CONFIG NAME", "GENERATION", "ACTUAL REPLICAS", "DESIRED REPLICAS", "hello-00001")
	contains(run("", "get", "rt,cfg,ksvc"), "route.serving.knative.dev/hello", "configuration.serving.knative.dev/hello",
		"service.serving.knative.dev/hello")
	contains(run("", "describe", "ksvc", "hello"), "ConfigurationsReady", "RoutesReady", "Observed Generation")
	contains(run("", "explain", "ksvc.spec.traffic"), "percent", "latestRevision", "tag")
	contains(run(strings.ReplaceAll(hello, "value: one", "value: two"), "apply", "--server-side", "--force-conflicts", "-f", "-"),
		"serverside-applied")
	s.ready("hello")
	contains(run("", "get", "rev"), "hello-00002")
	s.env = []string{"KUBE_EDITOR=sed -i s/two/three/"}
	contains(run("", "edit", "ksvc", "hello"), "edited")
	s.ready("hello")
	if _, body, err := s.get(host, "/"); err != nil || !strings.Contains(body, "three") {
		t.Errorf("after the edit it answers %q, %v", body, err)
	}
	contains(run("", "delete", "ksvc", "hello"), "deleted")
	eventually(t, "all of its objects are gone", func() error {
		out, err := s.kubectl("", "get", "ksvc,cfg,rt,rev", "-o", "name")
		if err == nil && strings.TrimSpace(out) != "" && !strings.Contains(out, "No resources") {
			return fmt.Errorf("left: %s", out)
		}
		return err
	})
	s.answers(host, http.StatusNotFound)
	if out, err := s.kubectl("", "get", "ksvc", "hello"); err == nil || !strings.Contains(out, `"hello" not found`) {
		t.Errorf("get of a deleted service: %v %s", err, out)
	}
}

func TestKubectlWatchSeesChanges(t *testing.T) {
	t.Parallel()
	s := embed(t)
	must(t)(s.kubectl(hello, "apply", "-f", "-"))
	s.ready("hello")
	out := &output.Buffer{}
	watch := s.kubectlCommand("get", "ksvc", "-w")
	watch.Stdout, watch.Stderr = out, out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Process.Kill(); _ = watch.Wait() }()
	shows := func(text string) {
		t.Helper()
		eventually(t, "the watch shows "+text, func() error {
			if !strings.Contains(out.String(), text) {
				return fmt.Errorf("it shows\n%s", out.String())
			}
			return nil
		})
	}
	shows("hello-00001") // the list with which the watch begins
	must(t)(s.kubectl("", "patch", "ksvc", "hello", "--type=merge", "-p",
		`{"spec":{"template":{"metadata":{"annotations":{"note":"x"}}}}}`))
	shows("hello-00002")
}
