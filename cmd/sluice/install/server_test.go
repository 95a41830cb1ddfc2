package install

import (
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/config"
	"sluice.dev/sluice/kube/configmap"
	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

// apply applies objects as `kubectl apply --server-side` does, and returns their resource versions.
func apply(t *testing.T, config *rest.Config, objects []Object) []string {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.WarningHandlerWithContext = nil
	warnings := &warningList{}
	config.WarningHandler = warnings
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, o := range objects {
		content, err := content(o)
		if err != nil {
			t.Fatal(err)
		}
		resource, _ := meta.UnsafeGuessKindToResource(o.GetObjectKind().GroupVersionKind())
		var of dynamic.ResourceInterface = client.Resource(resource)
		if o.GetNamespace() != "" {
			of = client.Resource(resource).Namespace(o.GetNamespace())
		}
		made, err := of.Apply(t.Context(), o.GetName(), &unstructured.Unstructured{Object: content},
			metav1.ApplyOptions{FieldManager: "test"})
		if err != nil {
			t.Fatalf("applying %s %s: %v", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), err)
		}
		versions = append(versions, made.GetResourceVersion())
	}
	if len(warnings.all) > 0 {
		t.Errorf("the API server warns: %s", strings.Join(warnings.all, "\n"))
	}
	return versions
}

type warningList struct{ all []string }

// HandleWarningHeader implements rest.WarningHandler.
func (w *warningList) HandleWarningHeader(_ int, _, text string) { w.all = append(w.all, text) }

func TestAnAPIServerTakesTheManifest(t *testing.T) {
	config := kubeapi.Start(t)
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			o := Defaults()
			change(&o)
			o.Namespace = "takes-" + name
			objects := objectsOf(t, o)
			first := apply(t, config, objects)
			again := apply(t, config, objects)
			for i, object := range objects {
				if kind := object.GetObjectKind().GroupVersionKind().Kind; first[i] != again[i] && kind != "CustomResourceDefinition" &&
					kind != "Namespace" {
					t.Errorf("applying %s %s again changes it", kind, object.GetName())
				}
			}
		})
	}
}

// access is what somebody may do, or must not: "VERB RESOURCE[/SUBRESOURCE][.GROUP] [NAMESPACE[/NAME]]".
type access string

func (a access) attributes() authorizationv1.ResourceAttributes {
	words := strings.Fields(string(a))
	var r authorizationv1.ResourceAttributes
	r.Verb = words[0]
	r.Resource, r.Group, _ = strings.Cut(words[1], ".")
	r.Resource, r.Subresource, _ = strings.Cut(r.Resource, "/")
	if len(words) > 2 {
		r.Namespace, r.Name, _ = strings.Cut(words[2], "/")
	}
	return r
}

// may asks the API server as a ServiceAccount of the installation.
func may(t *testing.T, config *rest.Config, namespace, account string, a access) bool {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	of := a.attributes()
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &of}}
	answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Allowed
}

// needed is what a controller does.
var needed = []access{
	"list services.serving.knative.dev", "watch services.serving.knative.dev", "update services/status.serving.knative.dev users/hello",
	"create configurations.serving.knative.dev users", "create routes.serving.knative.dev users",
	"update routes.serving.knative.dev users/hello",
	"create revisions.serving.knative.dev users", "patch revisions.serving.knative.dev users/hello-00001",
	"delete revisions.serving.knative.dev users/hello-00001", "update revisions/status.serving.knative.dev users/hello-00001",
	"update revisions/finalizers.serving.knative.dev users/hello-00001", "watch domainmappings.serving.knative.dev",
	"list scalerbindings.autoscaling.sluice.dev", "watch scalerbindings.autoscaling.sluice.dev",
	"update scalerbindings/status.autoscaling.sluice.dev users/queue",
	"list deployments.apps", "watch deployments.apps", "create deployments.apps users",
	"update deployments.apps users/hello-00001-deployment",
	"delete deployments.apps users/hello-00001-deployment", "patch deployments/scale.apps users/hello-00001-deployment",
	"list horizontalpodautoscalers.autoscaling", "watch horizontalpodautoscalers.autoscaling",
	"create horizontalpodautoscalers.autoscaling users",
	"update horizontalpodautoscalers.autoscaling users/hello-00001", "delete horizontalpodautoscalers.autoscaling users/hello-00001",
	"watch revisionscales.autoscaling.sluice.dev", "create revisionscales.autoscaling.sluice.dev users",
	"delete revisionscales.autoscaling.sluice.dev users/hello-00001",
	"update revisionscales/status.autoscaling.sluice.dev users/hello-00001",
	"list pods.metrics.k8s.io users", "list pods", "watch pods", "get pods/log users/hello", "create services users",
	"update services users/hello", "delete services users/hello",
	"get serviceaccounts users/default", "create events users", "patch events users/hello", "create events.events.k8s.io users",
	"get secrets own/sluice-xds-ca", "update secrets own/sluice-xds-ca", "create secrets own", "get secrets own/sluice-xds-mesh",
	"get secrets own/sluice-activator-token", "get configmaps own/config-autoscaler", "watch configmaps own/config-deployment",
	"list configmaps own/config-defaults",
	"get configmaps own/config-last-good", "update configmaps own/config-last-good",
	"watch clusterdomainclaims.networking.internal.knative.dev",
	"watch scalingschedules.autoscaling.sluice.dev", "update scalingschedules/status.autoscaling.sluice.dev users/office",
	"list secrets /sluice-xds-mesh", "watch secrets /sluice-xds-gateway", "update secrets users/sluice-xds-mesh",
	"update secrets users/sluice-xds-gateway",
	"create leases.coordination.k8s.io own", "update leases.coordination.k8s.io own/sluice-controller",
}

// refused is what nobody of an installation may do.
var refused = []access{
	"* *", "get secrets users/password", "list secrets", "list secrets own", "get secrets own/another", "delete secrets own/sluice-xds-ca",
	"create secrets users", "update secrets own/another", "update secrets users/another", "delete secrets users/sluice-xds-mesh",
	"get secrets users/sluice-xds-ca", "list serviceaccounts", "create serviceaccounts users",
	"create serviceaccounts/token own/controller", "create serviceaccounts/token users/default",
	"create pods users", "delete pods users/hello", "create pods/exec users/hello", "get pods/exec users/hello",
	"create pods/portforward users/hello",
	"create pods/ephemeralcontainers users/hello", "update pods users/hello", "create pods/eviction users/hello",
	"create daemonsets.apps users", "create statefulsets.apps users", "create jobs.batch users",
	"update horizontalpodautoscalers/status.autoscaling users/hello-00001", "get nodes", "list nodes", "update nodes", "get nodes/proxy",
	"create persistentvolumes", "delete namespaces users", "create namespaces",
	"update namespaces own", "get configmaps users/settings", "list configmaps", "list configmaps own", "create configmaps own",
	"update configmaps own/config-domain", "delete configmaps own/config-domain",
	"create clusterroles.rbac.authorization.k8s.io", "update clusterroles.rbac.authorization.k8s.io",
	"escalate clusterroles.rbac.authorization.k8s.io",
	"bind clusterroles.rbac.authorization.k8s.io", "create rolebindings.rbac.authorization.k8s.io own",
	"create clusterrolebindings.rbac.authorization.k8s.io",
	"impersonate users", "impersonate serviceaccounts own/controller", "impersonate groups",
	"update customresourcedefinitions.apiextensions.k8s.io", "delete customresourcedefinitions.apiextensions.k8s.io",
	"create mutatingwebhookconfigurations.admissionregistration.k8s.io", "create certificatesigningrequests.certificates.k8s.io",
	"create scalerbindings.autoscaling.sluice.dev users", "update scalerbindings.autoscaling.sluice.dev users/queue",
	"delete scalerbindings.autoscaling.sluice.dev users/queue",
	"create services.serving.knative.dev users", "update services.serving.knative.dev users/hello",
	"patch domainmappings.serving.knative.dev users/a.example",
	"delete services.serving.knative.dev users/hello", "create domainmappings.serving.knative.dev users",
	"update scalingschedules.autoscaling.sluice.dev users/office", "delete scalingschedules.autoscaling.sluice.dev users/office",
	"update leases.coordination.k8s.io own/another", "update leases.coordination.k8s.io kube-system/kube-scheduler",
	"delete leases.coordination.k8s.io own/sluice-controller",
	"create leases.coordination.k8s.io kube-system", "create networkpolicies.networking.k8s.io own", "delete events users/hello",
}

func TestEachRoleMayDoWhatItDoesAndNothingElse(t *testing.T) {
	config := kubeapi.Start(t)
	o := Defaults()
	o.Namespace = "own"
	apply(t, config, objectsOf(t, o))
	for _, a := range needed {
		if !may(t, config, o.Namespace, controller, a) {
			t.Errorf("a controller may not %s", a)
		}
	}
	for _, a := range refused {
		if may(t, config, o.Namespace, controller, a) {
			t.Errorf("a controller may %s", a)
		}
	}
	for _, account := range []string{activator, gateway} {
		for _, a := range slices.Concat(needed, refused) {
			if may(t, config, o.Namespace, account, a) {
				t.Errorf("the %s may %s", account, a)
			}
		}
	}
}

func TestSecretsOfUsersAndTheCertificateAreReadOnlyWhereAskedFor(t *testing.T) {
	config := kubeapi.Start(t)
	o := Defaults()
	o.Namespace, o.TLSSecret, o.UserSecrets = "more", "wildcard", true
	apply(t, config, objectsOf(t, o))
	for _, a := range []access{"get secrets more/wildcard", "watch secrets more/wildcard", "list secrets", "get secrets users/registry"} {
		if !may(t, config, o.Namespace, controller, a) {
			t.Errorf("a controller may not %s", a)
		}
	}
	for _, a := range []access{"update secrets more/wildcard", "update secrets users/registry", "delete secrets users/registry",
		"create secrets users"} {
		if may(t, config, o.Namespace, controller, a) {
			t.Errorf("a controller may %s", a)
		}
	}
	// The ClusterRole is that of the whole cluster: leave it as the other tests want it.
	o = Defaults()
	o.Namespace = "own"
	apply(t, config, objectsOf(t, o))
}

func TestTheConfigMapsAreThoseThatControllersRead(t *testing.T) {
	if lastGood != configmap.LastGoodName {
		t.Errorf("the ConfigMap of the last good data is called %s, want %s", lastGood, configmap.LastGoodName)
	}
	for _, o := range configMaps(Defaults()) {
		m := o.(*corev1.ConfigMap)
		if !slices.Contains(config.Names(), m.Name) {
			continue
		}
		_, notes, err := config.Default().With(m.Name, m.Data)
		if err != nil || len(notes.Unknown)+len(notes.Ignored) > 0 {
			t.Errorf("ConfigMap %s: error %v, notes %v", m.Name, err, notes)
		}
	}
}

// TestPodsWithoutAPIHaveNoToken checks that what needs no API has no credentials for it.
func TestPodsWithoutAPIHaveNoToken(t *testing.T) {
	for _, object := range objectsOf(t, Defaults()) {
		account, ok := object.(*corev1.ServiceAccount)
		if ok && (account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken) {
			t.Errorf("pods of the ServiceAccount %s get its token", account.Name)
		}
	}
	for _, d := range deploymentsOf(t, Defaults()) {
		mounts := d.Spec.Template.Spec.AutomountServiceAccountToken
		if mounts == nil || *mounts != (d.Name == controller) {
			t.Errorf("whether pods of %s get a token is %v", d.Name, mounts)
		}
	}
}
