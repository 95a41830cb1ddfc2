package preflight

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/crds"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

// cluster is an API server. There are no nodes but those that a test makes.
type cluster struct {
	client.Client
	t      *testing.T
	config *rest.Config
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	config := kubeapi.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{c, t, config}
}

func (c *cluster) create(o client.Object) {
	c.t.Helper()
	status := o.DeepCopyObject()
	if err := c.Create(c.t.Context(), o); err != nil {
		c.t.Fatal(err)
	}
	if node, ok := o.(*corev1.Node); ok {
		node.Status = status.(*corev1.Node).Status
		if err := c.Status().Update(c.t.Context(), node); err != nil {
			c.t.Fatal(err)
		}
	}
}

// says checks which findings with words there are: "LEVEL WORDS" each.
func (c *cluster) says(config *rest.Config, o install.Options, want ...string) {
	c.t.Helper()
	findings, err := Check(c.t.Context(), config, o)
	if err != nil {
		c.t.Fatal(err)
	}
	var all []string
	for _, f := range findings {
		all = append(all, f.String())
		if (f.Remedy == "") != (f.Level == OK) {
			c.t.Errorf("this finding has no remedy, or a needless one: %s", f)
		}
	}
	text := strings.Join(all, "\n")
	for _, w := range want {
		level, words, _ := strings.Cut(w, " ")
		found := false
		for _, f := range findings {
			found = found || string(f.Level) == level && strings.Contains(f.What, words)
		}
		if !found {
			c.t.Errorf("no finding is %q:\n%s", w, text)
		}
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

func node(name string, ready corev1.ConditionStatus, images ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
	}}
	for _, image := range images {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{image}})
	}
	return n
}

// TestCheck looks at one cluster, to which more and more is added.
func TestCheck(t *testing.T) {
	c := newCluster(t)
	for _, step := range []struct {
		name string
		test func(*testing.T, *cluster)
	}{
		{"changes nothing", changesNothing},
		{"names what the user may not do", namesWhatTheUserMayNotDo},
		{"says what the cluster lacks", saysWhatTheClusterLacks},
		{"finds Knative", findsKnative},
		{"wants the metrics API for revisions on CPU", wantsTheMetricsAPIForRevisionsOnCPU},
	} {
		t.Run(step.name, func(t *testing.T) { step.test(t, &cluster{c.Client, t, c.config}) })
	}
}

func saysWhatTheClusterLacks(t *testing.T, c *cluster) {
	o := install.Defaults()

	c.says(c.config, o, "ok Kubernetes v1.", "ok No object with a name", "ok This user may write all", "lacks No node is ready",
		"note No Service of type LoadBalancer", "ok All pods of Sluice meet", "ok The API server accepts")

	c.create(node("idle", corev1.ConditionFalse, o.Image))
	c.says(c.config, o, "lacks No node is ready")
	c.create(node("first", corev1.ConditionTrue, o.Image, o.DataPlaneImage, "docker.io/"+o.EnvoyImage))
	c.says(c.config, o, "ok 1 nodes", "ok All nodes have the image "+o.Image, "ok All nodes have the image "+o.EnvoyImage,
		"lacks 1 nodes, such as first, do not list the image "+o.QueueProxyImage)

	o.QueueProxyImage = "registry.example.com/queue-proxy:v1"
	c.says(c.config, o, "note 1 nodes, such as first, do not list the image registry.example.com")
	o.PullPolicy = string(corev1.PullNever)
	c.says(c.config, o, "lacks 1 nodes, such as first, do not list the image registry.example.com")

	o.PullPolicy, o.TLSSecret = string(corev1.PullIfNotPresent), "wildcard"
	c.says(c.config, o, "note Secret sluice-system/wildcard is not there yet")
	c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Namespace}})
	c.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.TLSSecret}})
	c.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: "config-domain"}})
	c.says(c.config, o, "lacks Secret sluice-system/wildcard has no certificate", "note Namespace sluice-system is there",
		"lacks ConfigMap sluice-system/config-domain is there")

	balancer := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "balancer"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	c.create(balancer)
	c.says(c.config, o, "note Service default/balancer of type LoadBalancer waits")
	balancer.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	if err := c.Status().Update(t.Context(), balancer); err != nil {
		t.Fatal(err)
	}
	c.says(c.config, o, "ok Services of type LoadBalancer get addresses, such as default/balancer")
}

func findsKnative(t *testing.T, c *cluster) {
	objects, err := install.Objects(install.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if d, ok := o.(*apiextensionsv1.CustomResourceDefinition); ok && d.Spec.Names.Kind == "Route" {
			d.Labels = map[string]string{"app.kubernetes.io/name": "knative-serving"}
			c.create(d)
		}
	}
	c.says(c.config, install.Defaults(),
		"lacks CustomResourceDefinition routes.serving.knative.dev is there, and belongs to knative-serving")
}

func namesWhatTheUserMayNotDo(_ *testing.T, c *cluster) {
	c.create(&rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"", "apps", "policy", "networking.k8s.io", "apiextensions.k8s.io", "rbac.authorization.k8s.io"},
			Resources: []string{"*"}, Verbs: []string{"get", "list", "create", "patch"},
		}},
	})
	c.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "writer"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "writer"}},
	})
	as := func(name string) *rest.Config {
		config := rest.CopyConfig(c.config)
		config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
		return config
	}
	c.says(as("nobody"), install.Defaults(), "lacks This user may not get namespaces, create namespaces",
		"note Whether nodes have the images is not known")
	// RBAC lets nobody give away what he does not have.
	c.says(as("writer"), install.Defaults(), "ok This user may write all", "lacks The API server refuses ClusterRole sluice-controller")
}

func changesNothing(t *testing.T, c *cluster) {
	c.says(c.config, install.Defaults(), "ok The API server accepts")
	var spaces corev1.NamespaceList
	var roles rbacv1.ClusterRoleList
	if err := c.List(t.Context(), &spaces); err != nil {
		t.Fatal(err)
	}
	if err := c.List(t.Context(), &roles, client.MatchingLabels{install.PartOf: "sluice"}); err != nil {
		t.Fatal(err)
	}
	for _, n := range spaces.Items {
		if n.Name == install.Defaults().Namespace {
			t.Error("the dry run has made the namespace")
		}
	}
	if len(roles.Items) > 0 {
		t.Error("the dry run has made roles")
	}
}

func TestAClusterThatDoesNotAnswerIsAnError(t *testing.T) {
	config := &rest.Config{Host: "https://" + address.Free(t)}
	if findings, err := Check(t.Context(), config, install.Defaults()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the findings are %v, and the error is %v", findings, err)
	}
}

func TestVersionsAreCompared(t *testing.T) {
	for version, want := range map[[2]string]bool{
		{"1", "29"}: true, {"1", "30"}: false, {"1", "37+"}: false, {"2", "0"}: false, {"1", ""}: true, {"0", "99"}: true,
	} {
		if older(version[0], version[1], "1.30") != want {
			t.Errorf("whether %v is older than 1.30 is not %v", version, want)
		}
	}
}

func wantsTheMetricsAPIForRevisionsOnCPU(t *testing.T, c *cluster) {
	definitions, err := crds.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	definitions = slices.DeleteFunc(definitions,
		func(d *apiextensionsv1.CustomResourceDefinition) bool { return d.Spec.Names.Kind != "Revision" })
	if _, err := envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{CRDs: definitions}); err != nil {
		t.Fatal(err)
	}
	if findings, err := Check(t.Context(), c.config, install.Defaults()); err != nil ||
		strings.Contains(fmt.Sprint(findings), metricsGroup) {
		t.Errorf("without revisions it says %v (%v)", findings, err)
	}
	c.create(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Revision",
		"metadata": map[string]any{
			"namespace": "default", "name": "hello-00001",
			"annotations": map[string]any{"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"},
		},
		"spec": map[string]any{"containers": []any{map[string]any{"image": "example.org/hello"}}},
	}})
	c.says(c.config, install.Defaults(),
		"note The cluster does not serve metrics.k8s.io/v1beta1, and 1 revisions are scaled on CPU or memory, such as default/hello-00001")
}
