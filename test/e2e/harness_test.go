package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

const (
	// patience bounds how long a test waits for what must come.
	patience = 3 * time.Minute
	// poll is the time between two looks.
	poll = 100 * time.Millisecond
	// system is the namespace of Sluice, domain that of the services.
	system = "sluice-system"
	domain = "example.com"
)

// cluster is the cluster of all tests, with Sluice in it.
var cluster struct {
	client.Client
	sluice  string       // the program
	gateway string       // host:port of the gateway outside of the cluster
	http    *http.Client // sends all requests to the gateway, whatever their host
}

func TestMain(m *testing.M) {
	if os.Getenv("KUBECONFIG") == "" {
		fmt.Println("KUBECONFIG is not set: the tests need a cluster, in which they install Sluice")
		if os.Getenv("CI") != "" {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sluice-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = setUp(dir)
	}
	if err != nil {
		fmt.Println("installing Sluice:", err)
		report()
		return 1
	}
	code := m.Run()
	if code != 0 {
		report()
	}
	if os.Getenv("SLUICE_E2E_KEEP") != "" {
		return code
	}
	if err := remove(); err != nil {
		fmt.Println("removing Sluice:", err)
		return 1
	}
	return code
}

// setUp installs Sluice, and waits until its pods are ready.
func setUp(dir string) error {
	cluster.sluice = filepath.Join(dir, "sluice")
	if out, err := exec.Command("go", "build", "-o", cluster.sluice, "sluice.dev/sluice/cmd/sluice").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 1000, 1000 // by default client-go waits 200 ms between two calls, which would be measured
	ctrl.SetLogger(logr.Discard())
	scheme := clientgoscheme.Scheme
	if err := servingv1.AddToScheme(scheme); err != nil {
		return err
	}
	if cluster.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := install(); err != nil {
		return err
	}
	if err := awaitRollout("controller", "activator", "gateway"); err != nil {
		return err
	}
	return findGateway()
}

// installation are the arguments by which Sluice is installed.
var installation = []string{
	"install", "--domain", domain, "--service-type", "NodePort", "--image", "sluice.local/sluice:dev",
	"--queue-proxy-image", "sluice.local/queue-proxy:dev", "--envoy-image", "sluice.local/envoy:1.40.0",
}

// install applies what `sluice install` prints.
func install(more ...string) error {
	manifest, err := exec.Command(cluster.sluice, slices.Concat(installation, more)...).Output()
	if err != nil {
		return err
	}
	return kubectl(manifest, "apply", "--server-side", "-f", "-")
}

func awaitRollout(deployments ...string) error {
	for _, name := range deployments {
		if err := kubectl(nil, "-n", system, "rollout", "status", "deployment/"+name, "--timeout", patience.String()); err != nil {
			return err
		}
	}
	return nil
}

// findGateway finds the port of the gateway's Service on a node.
func findGateway() error {
	ctx := context.Background()
	var service corev1.Service
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: system, Name: "gateway"}, &service); err != nil {
		return err
	}
	var nodes corev1.NodeList
	if err := cluster.List(ctx, &nodes); err != nil {
		return err
	}
	for _, address := range nodes.Items[0].Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			cluster.gateway = net.JoinHostPort(address.Address, fmt.Sprint(service.Spec.Ports[0].NodePort))
		}
	}
	cluster.http = &http.Client{Transport: transport(cluster.gateway), Timeout: patience}
	return nil
}

// transport sends all requests to an address.
func transport(address string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
		},
		MaxIdleConnsPerHost: 64,
	}
}

// remove deletes what `sluice uninstall` names, and looks for what is left.
func remove() error {
	manifest, err := exec.Command(cluster.sluice, "uninstall").Output()
	if err != nil {
		return err
	}
	if err := kubectl(manifest, "delete", "-f", "-", "--ignore-not-found", "--timeout", patience.String()); err != nil {
		return err
	}
	left, err := exec.Command(cluster.sluice, "uninstall").Output()
	if err != nil {
		return err
	}
	if bytes.Contains(left, []byte("\nkind:")) {
		return fmt.Errorf("it is not all gone:\n%s", left)
	}
	return nil
}

// kubectl runs kubectl with an input.
func kubectl(input []byte, args ...string) error {
	c := exec.Command("kubectl", args...)
	c.Stdin = bytes.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// report prints what may explain a failure.
func report() {
	for _, args := range [][]string{
		{"get", "pods,ksvc,revisions,routes", "-A", "-o", "wide"}, {"get", "events", "-A", "--sort-by", ".lastTimestamp"},
		{"-n", system, "logs", "-l", "app.kubernetes.io/component=controller", "--tail", "80", "--prefix"},
		{"-n", system, "logs", "-l", "app.kubernetes.io/component=activator", "--tail", "30", "--prefix"},
		{"-n", system, "logs", "-l", "app.kubernetes.io/component=gateway", "--tail", "30", "--prefix"},
	} {
		out, _ := exec.Command("kubectl", args...).CombinedOutput() // an error is in the output
		fmt.Printf("\n$ kubectl %s\n%s", strings.Join(args, " "), out[max(0, len(out)-16<<10):])
	}
}

// space is a namespace of one test.
type space struct {
	testing.TB
	name string
}

// newSpace makes a namespace for the time of the test. Tests run side by side.
func newSpace(t *testing.T) *space {
	t.Helper()
	t.Parallel()
	return makeSpace(t)
}

// makeSpace makes a namespace for the time of a test or benchmark.
func makeSpace(t testing.TB) *space {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	if err := cluster.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Delete(context.Background(), ns); err != nil {
			t.Error(err)
		}
	})
	return &space{t, ns.Name}
}

// apply applies files of the repository's examples.
func (s *space) apply(files ...string) {
	s.Helper()
	for _, file := range files {
		if err := kubectl(nil, "-n", s.name, "apply", "-f", filepath.Join("..", "..", "examples", file)); err != nil {
			s.Fatal(err)
		}
	}
}

// service is a Service of the sample app. Annotations are those of the template.
type service struct {
	name, target string
	labels       map[string]string
	annotations  map[string]string
	image        string   // empty: the sample app's
	command      []string // nil: the sample app
	concurrency  int64
	timeout      int64 // timeoutSeconds; 0 is the default. A pod may take as long to end, as far as its namespace knows
}

// object returns the Service for the API.
func (v service) object(namespace string) *servingv1.Service {
	o := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v.name, Labels: v.labels}}
	o.TypeMeta = metav1.TypeMeta{APIVersion: servingv1.GroupVersion.String(), Kind: "Service"}
	template := &o.Spec.Template
	template.Metadata.Annotations = v.annotations
	if v.concurrency > 0 {
		template.Spec.ContainerConcurrency = &v.concurrency
	}
	if v.timeout > 0 {
		template.Spec.TimeoutSeconds = &v.timeout
	}
	container := servingv1.Container{
		Image: cmp.Or(v.image, "dev.local/sample:v1"), Command: v.command,
		Env: []servingv1.EnvVar{{Name: "TARGET", Value: cmp.Or(v.target, "World")}},
	}
	if v.command == nil {
		container.Command = []string{"sluice", "sample"}
	}
	template.Spec.Containers = []servingv1.Container{container}
	return o
}

// deploy creates or updates a Service.
func (s *space) deploy(v service) {
	s.Helper()
	s.put(v.object(s.name))
}

// put creates or updates a Service.
func (s *space) put(o *servingv1.Service) {
	s.Helper()
	o.ManagedFields, o.ResourceVersion = nil, ""                                                        // as it was written, where it is put again
	err := cluster.Patch(s.Context(), o, client.Apply, client.FieldOwner("e2e"), client.ForceOwnership) //nolint:staticcheck // typed
	if err != nil {
		s.Fatal(err)
	}
}

// get returns a Service.
func (s *space) get(name string) *servingv1.Service {
	s.Helper()
	var o servingv1.Service
	if err := cluster.Get(s.Context(), client.ObjectKey{Namespace: s.name, Name: name}, &o); err != nil {
		s.Fatal(err)
	}
	return &o
}

// await waits until a condition holds. The condition returns what it has found.
func (s *space) await(what string, holds func() (found any, ok bool)) {
	s.Helper()
	var found any
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(poll) {
		var ok bool
		if found, ok = holds(); ok {
			return
		}
	}
	s.Fatalf("waiting for %s: the last thing seen is %v", what, found)
}

// awaitReady waits until a Service is ready with its newest generation.
func (s *space) awaitReady(name string) *servingv1.Service {
	s.Helper()
	var o *servingv1.Service
	s.await("the Service "+name+" to be ready", func() (any, bool) {
		o = s.get(name)
		c := conditionOf(o, "Ready")
		return c, o.Status.ObservedGeneration == o.Generation && c.Status == "True"
	})
	return o
}

// conditionOf returns a condition of a Service; an empty one when it is not there.
func conditionOf(o *servingv1.Service, kind string) servingv1.Condition {
	for _, c := range o.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return servingv1.Condition{}
}

// replicas counts the pods of a Service that do not end.
func (s *space) replicas(name string) int {
	s.Helper()
	n := 0
	for _, p := range s.listPods(name) {
		if p.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

func (s *space) listPods(name string) []corev1.Pod {
	s.Helper()
	var pods corev1.PodList
	err := cluster.List(s.Context(), &pods, client.InNamespace(s.name), client.MatchingLabels{servingv1.ServiceLabel: name})
	if err != nil {
		s.Fatal(err)
	}
	return pods.Items
}

// host is the host of a Service.
func (s *space) host(name string) string { return name + "." + s.name + "." + domain }

// answer is what a request got.
type answer struct {
	status int
	body   string
	err    error
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, strings.TrimSpace(a.body))
}

// ask sends a GET with a client.
func ask(ctx context.Context, c *http.Client, host, path string) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, http.NoBody)
	if err != nil {
		return answer{err: err}
	}
	response, err := c.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(body), err}
}

// ask sends a GET to a host through the gateway.
func (s *space) ask(host, path string) answer { return ask(s.Context(), cluster.http, host, path) }

// awaitAnswer waits until a host answers 200 with a text.
func (s *space) awaitAnswer(host, text string) {
	s.Helper()
	s.await("an answer of "+host, func() (any, bool) {
		a := s.ask(host, "/")
		return a, a.status == http.StatusOK && strings.Contains(a.body, text)
	})
}
