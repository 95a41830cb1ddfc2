// Package installation tests how Sluice comes into a cluster and leaves it: the cluster that KUBECONFIG names, whose nodes have the images
// that test/e2e uses. It must have no Sluice when the test begins, so this package and test/e2e cannot run at the same time.
package installation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/preflight"
	"sluice.dev/sluice/cmd/sluice/removal"
)

// patience bounds the wait for what a cluster does.
const patience = 4 * time.Minute

// target is the cluster under test.
type target struct {
	t      *testing.T
	config *rest.Config
	client metadata.Interface
}

func newTarget(t *testing.T) (*target, install.Options) {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("KUBECONFIG is not set: this test needs a cluster")
	}
	o := install.Defaults()
	o.EnvoyImage, o.PullPolicy, o.ServiceType = "sluice.local/envoy:1.40.0", "Never", "NodePort"
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("this test needs kubectl on PATH")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &target{t, config, client}, o
}

// kubectl runs kubectl, and returns what it prints.
func (c *target) kubectl(input []byte, arguments ...string) string {
	c.t.Helper()
	command := exec.CommandContext(c.t.Context(), "kubectl", append(arguments, "--cache-dir", c.t.TempDir())...)
	command.Stdin = bytes.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

// eventually waits until a condition holds; what says why it does not.
func (c *target) eventually(what func() string) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		why := what()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("after %v: %s", patience, why)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// everything returns the names of all objects of the cluster, but for what records its work.
func (c *target) everything() map[string]bool {
	c.t.Helper()
	found := map[string]bool{}
	finder, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	lists, err := finder.ServerPreferredResources()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") || r.Name == "events" {
				continue
			}
			objects, err := c.client.Resource(version.WithResource(r.Name)).List(c.t.Context(), metav1.ListOptions{})
			if err != nil {
				continue // the kind is on its way out
			}
			for _, o := range objects.Items {
				found[fmt.Sprintf("%s.%s %s/%s", r.Name, version.Group, o.Namespace, o.Name)] = true
			}
		}
	}
	return found
}

func (c *target) install(o install.Options) {
	c.t.Helper()
	objects, err := install.Objects(o)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := install.YAML(objects)
	if err != nil {
		c.t.Fatal(err)
	}
	c.kubectl(text, "apply", "-f", "-")
	for _, d := range []string{"controller", "activator", "gateway"} {
		c.kubectl(nil, "rollout", "status", "-n", o.Namespace, "deployment/"+d, "--timeout", patience.String())
	}
}

// uninstall deletes what `sluice uninstall` prints.
func (c *target) uninstall(o install.Options) {
	c.t.Helper()
	items, err := removal.Find(c.t.Context(), c.client, o.Namespace)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := removal.YAML(items)
	if err != nil {
		c.t.Fatal(err)
	}
	c.kubectl(text, "delete", "-f", "-", "--ignore-not-found", "--timeout", patience.String())
}

// get asks a service of the installation through the gateway's Service.
func (c *target) get(address, host string) (int, string) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Host, request.Close = host, true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// gateway returns an address of the gateway from outside of the cluster: that of a node, and the port of the Service.
func (c *target) gateway(o install.Options) string {
	host := c.kubectl(nil, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	port := c.kubectl(nil, "get", "service", "-n", o.Namespace, "gateway", "-o", `jsonpath={.spec.ports[?(@.name=="http")].nodePort}`)
	return host + ":" + port
}

const hello = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: %s}
spec:
  template:
    spec:
      containers:
      - image: dev.local/sample:v1
        imagePullPolicy: Never
        command: [sluice, sample]
        env: [{name: TARGET, value: cluster}]
`

func TestInstallServesAndUninstallLeavesNothing(t *testing.T) {
	c, o := newTarget(t)
	before := c.everything()
	c.eventually(func() string { // a node lists an image some seconds after it got it
		findings, err := preflight.Check(t.Context(), c.config, o)
		if err != nil {
			return err.Error()
		}
		for _, f := range findings {
			if f.Level == preflight.Lacks {
				return f.String()
			}
		}
		return ""
	})
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("kubectl", "get", "pods,ksvc", "-A").CombinedOutput()
			t.Logf("%s", out)
		}
	})
	c.install(o)
	const namespace = "e2e-install"
	c.kubectl(nil, "create", "namespace", namespace)
	c.kubectl(fmt.Appendf(nil, hello, namespace), "apply", "-f", "-")
	c.kubectl(nil, "wait", "-n", namespace, "ksvc/hello", "--for=condition=Ready", "--timeout", patience.String())
	address := c.gateway(o)
	c.eventually(func() string {
		status, body := c.get(address, "hello."+namespace+"."+o.Domain)
		if status != http.StatusOK || !strings.Contains(body, "cluster") {
			return fmt.Sprintf("hello answers %d %s", status, body)
		}
		return ""
	})
	c.install(o) // again: an update that changes nothing
	if status, body := c.get(address, "hello."+namespace+"."+o.Domain); status != http.StatusOK {
		t.Errorf("after another installation hello answers %d %s", status, body)
	}

	c.uninstall(o)
	c.eventually(func() string { // the garbage collector takes its time for pods
		after := c.everything()
		maps.DeleteFunc(after, func(name string, _ bool) bool {
			return before[name] || strings.Contains(name, " "+namespace+"/") && isOfNamespace(name) || name == "namespaces. /"+namespace
		})
		if len(after) > 0 {
			return "still there: " + strings.Join(slices.Sorted(maps.Keys(after)), ", ")
		}
		return ""
	})
	c.kubectl(nil, "delete", "namespace", namespace)
}

// isOfNamespace says whether each namespace has an object.
func isOfNamespace(name string) bool {
	return strings.HasPrefix(name, "serviceaccounts. ") && strings.HasSuffix(name, "/default") ||
		strings.HasPrefix(name, "configmaps. ") && strings.HasSuffix(name, "/kube-root-ca.crt")
}
