package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/podprocess"
)

// Operations on a cluster.
const (
	roll      kind = "rolling restart" // of the pods of a role
	deletePod kind = "delete pod"      // of a role, gracefully
	killPod   kind = "kill leader"     // its processes get SIGKILL
	evict     kind = "evict"           // a pod of a revision
	empty     kind = "empty node"      // evicts all pods of Sluice and of its Services
	configure kind = "configure"       // another value in a ConfigMap, or a wrong one
	upgrade   kind = "upgrade"         // installs again with another option
	killEnvoy kind = "kill gateway"    // one of the Envoys gets SIGKILL
)

var clusterOdds = []odd{
	{create, 40}, {remove, 30}, {rename, 15}, {weigh, 180}, {tag, 90}, {retag, 40}, {revise, 120}, {fail, 15}, {sleep, 25}, {overload, 40},
	{roll, 15}, {deletePod, 25}, {killPod, 12}, {evict, 30}, {empty, 4}, {configure, 20}, {upgrade, 6}, {killEnvoy, 12},
}

// system namespace and roles of an installation.
const sluiceSystem = "sluice-system"

var clusterRoles = []string{"controller", "activator", "gateway"}

// inCluster is an installation in the cluster of KUBECONFIG.
type inCluster struct {
	api     client.Client
	address string // of the gateway
	routes  string // form of the routes, which an upgrade changes
	values  int    // how many times it has been configured
}

func TestChaosInACluster(t *testing.T) {
	if !*inKube {
		t.Skip("-chaos.cluster is not set: this run takes the cluster of KUBECONFIG, and installs Sluice there")
	}
	if os.Getenv("KUBECONFIG") == "" {
		t.Fatal("KUBECONFIG is not set")
	}
	c := newInCluster(t)
	number := *seed
	if number == 0 {
		number = 1 + rand.Uint64N(1_000_000)
	}
	v := &verdict{stop: make(chan struct{})}
	hosts := newHosts(number)
	p := &performer{system: c, hosts: hosts, stop: v.stop, lanes: map[string]chan struct{}{}, slots: make(chan struct{}, 4)}
	why := func() string { return p.recent(20, time.Now()) + "\n" + c.tails(40) }
	p.load = newLoad(hosts, c.address, *rate, func(f failure) { v.add("request: "+f.String(), why) })
	p.load.idle.checked = true
	p.load.late = func(host string) { logLine("LATE", host) }
	p.fail = func(err error) {
		v.add(err.Error(), why)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.end()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var loading sync.WaitGroup
	loading.Go(func() { p.load.run(ctx, number) })
	began := time.Now()
	plan := newPlan(number)
	plan.odds, plan.fewest, plan.most = clusterOdds, 3, 5
	p.all(t, plan)
	took := time.Since(began)
	cancel()
	loading.Wait()
	t.Logf("-chaos.seed %d: %d operations in %v; how many of each, how long half of them took, and the longest: %s",
		number, len(p.log), took.Round(time.Second), p.longest())
	t.Log(p.load.figures())
	if len(v.all) > 0 {
		t.Errorf("-chaos.seed %d:\n%s\n\nbefore the first of them:\n%s", number, strings.Join(v.all, "\n"), v.first)
	}
}

// newInCluster installs Sluice.
func newInCluster(t *testing.T) *inCluster {
	t.Helper()
	namespace, domain, image, stuck = "chaos", "example.com", "dev.local/chaos:v1", 4*time.Minute
	command = func() string { return "/chaos" }
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	scheme := clientgoscheme.Scheme
	if err := servingv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &inCluster{routes: "scoped"}
	if c.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.remove(t) })
	if err := errors.Join(c.install(), c.configure(""), kubectl(nil, "create", "namespace", namespace)); err != nil {
		t.Fatal(err)
	}
	var service corev1.Service
	if err := c.api.Get(t.Context(), client.ObjectKey{Namespace: sluiceSystem, Name: "gateway"}, &service); err != nil {
		t.Fatal(err)
	}
	var nodes corev1.NodeList
	if err := c.api.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			c.address = net.JoinHostPort(a.Address, fmt.Sprint(service.Spec.Ports[0].NodePort))
		}
	}
	return c
}

func kubectl(input []byte, args ...string) error {
	c := exec.Command("kubectl", args...)
	c.Stdin = bytes.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// install installs Sluice, or installs it again, and waits until all pods are ready.
func (c *inCluster) install() error {
	manifest, err := exec.Command(filepath.Join(built, "sluice"), "install", "--domain", domain, "--service-type", "NodePort",
		"--envoy-image", "sluice.local/envoy:1.40.0", "--routes", c.routes).Output()
	if err != nil {
		return err
	}
	if err := kubectl(manifest, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		return err
	}
	return c.settled()
}

// settled waits until all pods of all roles are ready, and those before them have ended.
func (c *inCluster) settled() error {
	for _, role := range clusterRoles {
		if err := kubectl(nil, "-n", sluiceSystem, "rollout", "status", "deployment/"+role, "--timeout", stuck.String()); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(stuck); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var pods corev1.PodList
		if err := c.api.List(context.Background(), &pods, client.InNamespace(sluiceSystem)); err != nil {
			return err
		}
		busy := 0
		for _, pod := range pods.Items {
			if !isReady(&pod) {
				busy++
			}
		}
		if busy == 0 {
			return nil
		}
	}
	return errors.New("the pods of Sluice do not come to rest")
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// remove deletes the Services and Sluice.
func (c *inCluster) remove(t *testing.T) {
	if os.Getenv("SLUICE_E2E_KEEP") != "" {
		return
	}
	if err := kubectl(nil, "delete", "namespace", namespace, "--ignore-not-found", "--timeout", stuck.String()); err != nil {
		t.Error(err)
	}
	manifest, err := exec.Command(filepath.Join(built, "sluice"), "uninstall").Output()
	if err == nil {
		err = kubectl(manifest, "delete", "-f", "-", "--ignore-not-found", "--timeout", stuck.String())
	}
	if err != nil {
		t.Error(err)
	}
}

func (c *inCluster) client() client.Client { return c.api }

// sizes implements system: what pods use is not measured.
func (c *inCluster) sizes() map[string]float64  { return nil }
func (c *inCluster) peaked() map[string]float64 { return nil }

func (c *inCluster) tails(lines int) string {
	var all []string
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"-n", sluiceSystem, "logs", "-l", "app.kubernetes.io/component=controller", "--tail", fmt.Sprint(lines), "--prefix"},
		{"-n", sluiceSystem, "logs", "-l", "app.kubernetes.io/component=activator", "--tail", fmt.Sprint(lines / 2), "--prefix"},
		{"-n", sluiceSystem, "logs", "-l", "app.kubernetes.io/component=gateway", "--tail", fmt.Sprint(lines / 2), "--prefix"},
	} {
		out, _ := exec.Command("kubectl", args...).CombinedOutput() // an error is in the output
		all = append(all, string(out))
	}
	return strings.Join(all, "\n")
}

// disturb implements system.
func (c *inCluster) disturb(p *performer, o op) error {
	random := rand.New(rand.NewPCG(o.seed, 6))
	var err error
	switch o.kind {
	case roll:
		err = kubectl(nil, "-n", sluiceSystem, "rollout", "restart", "deployment/"+clusterRoles[o.target%3])
	case deletePod:
		err = c.deleteOne(clusterRoles[o.target%3], random)
	case killPod:
		err = c.killLeader()
	case evict:
		err = c.evictOne(random)
	case empty:
		err = c.evictAll()
	case configure:
		c.values++
		value := []string{"7s", "8s", "soon"}[c.values%3] // the last one is wrong, and must change nothing
		err = c.configure(value)
	case upgrade:
		if c.routes = "inline"; o.target%2 == 0 {
			c.routes = "scoped"
		}
		err = c.install()
	case killEnvoy:
		err = c.killEnvoy(p, random)
	default:
		err = fmt.Errorf("nothing is known of %q", o.kind)
	}
	if err == nil {
		err = c.settled()
	}
	if err == nil {
		err = p.light() // a leader makes changes, and all gateways get them
	}
	return err
}

// configure sets the settings of the autoscaler; stable is its window.
func (c *inCluster) configure(stable string) error {
	if stable == "" {
		stable = "6s"
	}
	patch := fmt.Sprintf(`{"data":{"allow-zero-initial-scale":"true","scale-to-zero-grace-period":"1s","max-scale":"2","stable-window":%q}}`, stable)
	return kubectl(nil, "-n", sluiceSystem, "patch", "configmap", "config-autoscaler", "--type", "merge", "-p", patch)
}

// podsOf returns the pods that match labels and do not end.
func (c *inCluster) podsOf(namespace string, match client.ListOption) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := c.api.List(context.Background(), &list, client.InNamespace(namespace), match); err != nil {
		return nil, err
	}
	var all []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			all = append(all, pod)
		}
	}
	return all, nil
}

func (c *inCluster) deleteOne(role string, random *rand.Rand) error {
	pods, err := c.podsOf(sluiceSystem, client.MatchingLabels{"app.kubernetes.io/component": role})
	if err != nil || len(pods) == 0 {
		return err
	}
	return client.IgnoreNotFound(c.api.Delete(context.Background(), &pods[random.IntN(len(pods))]))
}

func (c *inCluster) killLeader() error {
	out, err := exec.Command("kubectl", "-n", sluiceSystem, "get", "lease", "sluice-controller", "-o",
		"jsonpath={.spec.holderIdentity}").Output()
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(string(out), "_")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: sluiceSystem, Name: name}}
	return client.IgnoreNotFound(c.api.Delete(context.Background(), pod, client.GracePeriodSeconds(0)))
}

// evictOne evicts a pod of a revision.
func (c *inCluster) evictOne(random *rand.Rand) error {
	pods, err := c.podsOf(namespace, client.HasLabels{servingv1.RevisionLabel})
	if err != nil || len(pods) == 0 {
		return err
	}
	return c.evict(&pods[random.IntN(len(pods))])
}

// evict evicts a pod as soon as disruption budgets allow it.
func (c *inCluster) evict(pod *corev1.Pod) error {
	for deadline := time.Now().Add(stuck); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		err := c.api.SubResource("eviction").Create(context.Background(), pod, &policyv1.Eviction{})
		if !apierrors.IsTooManyRequests(err) {
			return client.IgnoreNotFound(err)
		}
	}
	return fmt.Errorf("no disruption budget allows to evict the pod %s/%s", pod.Namespace, pod.Name)
}

// evictAll evicts every pod of Sluice and of its Services, as the draining of a node does.
func (c *inCluster) evictAll() error {
	own, err := c.podsOf(sluiceSystem, client.HasLabels{"app.kubernetes.io/component"})
	if err != nil {
		return err
	}
	users, err := c.podsOf(namespace, client.HasLabels{servingv1.RevisionLabel})
	if err != nil {
		return err
	}
	for _, pod := range append(own, users...) {
		if err := c.evict(&pod); err != nil {
			return err
		}
	}
	return nil
}

// killEnvoy kills the Envoy of one gateway, where the nodes are this machine.
func (c *inCluster) killEnvoy(p *performer, random *rand.Rand) error {
	pods, err := c.podsOf(sluiceSystem, client.MatchingLabels{"app.kubernetes.io/component": "gateway"})
	if err != nil || len(pods) < 2 {
		return err
	}
	pid := podprocess.Find(string(pods[random.IntN(len(pods))].UID), "envoy")
	if pid == 0 {
		return nil // the pod is on another machine
	}
	p.load.kill()
	return syscall.Kill(pid, syscall.SIGKILL)
}
