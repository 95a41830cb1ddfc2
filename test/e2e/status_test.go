package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// asked runs the program in an empty folder, where there is no sluice up, and returns what it prints and its exit code.
func asked(t *testing.T, environment []string, args ...string) (out string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), cluster.sluice, args...)
	c.Dir, c.Env = t.TempDir(), append(os.Environ(), environment...)
	text, err := c.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return string(text), c.ProcessState.ExitCode()
}

func TestSluiceAsksTheClusterForItsStatus(t *testing.T) {
	s := newSpace(t)
	s.deploy(service{name: "hello"})
	s.awaitReady("hello")
	s.awaitAnswer(s.host("hello"), "World")

	s.await("the status of gateways and activators", func() (any, bool) {
		out, code := asked(t, nil, "xds", "status", "-o", "json")
		var clients []struct{ ID, Role string }
		if err := json.Unmarshal([]byte(out), &clients); err != nil || code != 0 {
			return out, false
		}
		roles := map[string]int{}
		for _, c := range clients {
			roles[c.Role]++
		}
		return roles, roles["gateway"] >= 2 && roles["activator"] >= 2
	})
	s.await("the service to be explained as served", func() (any, bool) {
		out, code := asked(t, nil, "explain", "-n", s.name, "hello")
		return out, code == 0 && strings.Contains(out, "Route "+s.name+"/hello is served") && strings.Contains(out, "gateway gateway-")
	})
	if out, code := asked(t, nil, "xds", "status", "--namespace", s.name); code == 0 || !strings.Contains(out, "the Lease "+s.name) {
		t.Errorf("in a namespace without Sluice: code %d, %s", code, out)
	}
}

// TestStatusIsForThoseWhoHaveTheRole asks as accounts of the cluster: one has the Role xds-status, the other one may read all that is no Secret.
func TestStatusIsForThoseWhoHaveTheRole(t *testing.T) {
	s := newSpace(t)
	bindings := map[string][]string{
		"may":   {"-n", system, "rolebinding", "status-" + s.name, "--role", "xds-status"},
		"views": {"-n", system, "rolebinding", "views-" + s.name, "--clusterrole", "view"},
	}
	for account, binding := range bindings {
		create := append([]string{"create"}, binding...)
		for _, args := range [][]string{
			{"-n", s.name, "create", "serviceaccount", account}, append(create, "--serviceaccount", s.name+":"+account),
		} {
			if err := kubectl(nil, args...); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			if err := kubectl(nil, append([]string{"delete"}, binding[:4]...)...); err != nil {
				t.Error(err)
			}
		})
	}
	may := "KUBECONFIG=" + s.kubeconfigOf("may")
	s.await("the status with the role", func() (any, bool) { // the API server learns of a binding by a watch
		out, code := asked(t, []string{may}, "xds", "status")
		return out, code == 0 && strings.Contains(out, "gateway-")
	})
	out, code := asked(t, []string{"KUBECONFIG=" + s.kubeconfigOf("views")}, "xds", "status")
	if code == 0 || !strings.Contains(out, "your account may not") || !strings.Contains(out, "xds-status") {
		t.Errorf("without the role: code %d, %s", code, out)
	}
}

// kubeconfigOf writes a kubeconfig for an account of the namespace.
func (s *space) kubeconfigOf(account string) string {
	s.Helper()
	token, err := exec.Command("kubectl", "-n", s.name, "create", "token", account).Output()
	if err != nil {
		s.Fatal(err)
	}
	file := filepath.Join(s.TempDir(), "kubeconfig")
	text, err := exec.Command("kubectl", "config", "view", "--raw", "--flatten", "--minify").Output()
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		s.Fatal(err)
	}
	for _, args := range [][]string{
		{"set-credentials", "account", "--token", strings.TrimSpace(string(token))}, {"set-context", "--current", "--user", "account"},
	} {
		if err := kubectl(nil, append([]string{"--kubeconfig", file, "config"}, args...)...); err != nil {
			s.Fatal(err)
		}
	}
	return file
}

func TestEventsOfAServiceSayWhatBecameOfIt(t *testing.T) {
	s := newSpace(t)
	s.deploy(service{name: "hello", annotations: window})
	s.awaitReady("hello")
	for _, want := range []string{
		"Service hello Normal RevisionCreated: Created the revision hello-00001",
		"Service hello Normal Ready: Ready at http://" + s.host("hello"),
		"Revision hello-00001 Normal Scaled: Scaled from 1 to 0 replicas: ",
	} {
		s.await("an Event with "+want, func() (any, bool) {
			var list corev1.EventList
			if err := cluster.List(t.Context(), &list, client.InNamespace(s.name)); err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, e := range list.Items {
				all = append(all, fmt.Sprintf("%s %s %s %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Type, e.Reason, e.Message))
			}
			text := strings.Join(all, "\n")
			return text, strings.Contains(text, want)
		})
	}
}
