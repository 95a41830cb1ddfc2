package install

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/config"
)

const (
	rbacVersion  = "rbac.authorization.k8s.io/v1"
	servingGroup = "serving.knative.dev"
	claimGroup   = "networking.internal.knative.dev" // who may use a domain
	scalingGroup = "autoscaling.sluice.dev"
	// clusterName is the name of the ClusterRole of controllers, and of its binding.
	clusterName = "sluice-controller"
)

// Secrets are those that controllers make: the authority of xDS, the certificates of its clients, and the token of activators.
var Secrets = []string{
	"sluice-activator-token", "sluice-xds-activator", "sluice-xds-ca", "sluice-xds-gateway", "sluice-xds-mesh", StatusSecret,
}

// ClientSecrets are those that a namespace with ClientsLabel asks for by making them empty. Controllers fill them with a certificate.
var ClientSecrets = []string{"sluice-xds-gateway", "sluice-xds-mesh"}

// StatusSecret has the certificate of those who ask the xDS server what its clients have. StatusRole is a Role that lets an account do so.
// Nobody has it at first.
const (
	StatusSecret = "sluice-xds-status"
	StatusRole   = "xds-status"
)

// ServerName is the name that the certificate of the xDS server is for.
func ServerName(namespace string) string { return controller + "." + namespace + ".svc" }

// Lease is the one by which controllers elect their leader.
const Lease = "sluice-controller"

// Verbs of what a controller only reads, and of what it makes.
var (
	readVerbs = []string{"get", "list", "watch"}
	allVerbs  = []string{"get", "list", "watch", "create", "update", "patch", "delete"}
)

// rbac returns what the account of controllers may do. Activators and gateways may do nothing: they get everything over xDS.
func rbac(o Options) []Object {
	all := []Object{
		&rbacv1.ClusterRole{
			TypeMeta:   typeMeta(rbacVersion, "ClusterRole"),
			ObjectMeta: metav1.ObjectMeta{Name: clusterName, Labels: labels(controller)},
			Rules:      clusterRules(o),
		},
		&rbacv1.ClusterRoleBinding{
			TypeMeta:   typeMeta(rbacVersion, "ClusterRoleBinding"),
			ObjectMeta: metav1.ObjectMeta{Name: clusterName, Labels: labels(controller)},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: clusterName},
			Subjects:   o.subjects(controller),
		},
		&rbacv1.Role{
			TypeMeta: typeMeta(rbacVersion, "Role"), ObjectMeta: o.meta(controller, controller), Rules: ownRules(o),
		},
		&rbacv1.RoleBinding{
			TypeMeta: typeMeta(rbacVersion, "RoleBinding"), ObjectMeta: o.meta(controller, controller),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: controller},
			Subjects: o.subjects(controller),
		},
		&rbacv1.Role{
			TypeMeta: typeMeta(rbacVersion, "Role"), ObjectMeta: o.meta(StatusRole, ""), Rules: statusRules(),
		},
	}
	return append(all, userRoles()...)
}

// account returns the ServiceAccount of a role. No pod gets a token of it unless the pod asks for one.
func (o Options) account(role string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: o.meta(role, role), AutomountServiceAccountToken: new(false),
	}
}

func (o Options) subjects(role string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: o.Namespace, Name: role}}
}

// clusterRules are what controllers may do in all namespaces: reconcile the kinds of the API, and run revisions as Deployments.
func clusterRules(o Options) []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		// What only users write is read, and its status written.
		{APIGroups: []string{servingGroup}, Resources: []string{"services", "domainmappings"}, Verbs: readVerbs},
		{APIGroups: []string{servingGroup}, Resources: []string{"configurations", "routes", "revisions"}, Verbs: allVerbs},
		{
			APIGroups: []string{claimGroup}, Resources: []string{"clusterdomainclaims"},
			Verbs: append([]string{"create", "delete"}, readVerbs...),
		},
		{
			APIGroups: []string{servingGroup}, Resources: subresources("status"), Verbs: []string{"get", "update", "patch"},
		},
		{APIGroups: []string{scalingGroup}, Resources: []string{"revisionscales"}, Verbs: allVerbs},
		{APIGroups: []string{scalingGroup}, Resources: []string{"revisionscales/status"}, Verbs: []string{"get", "update", "patch"}},
		// Where the API server checks references to owners, whoever blocks the deletion of an owner must be allowed to.
		{APIGroups: []string{servingGroup}, Resources: subresources("finalizers"), Verbs: []string{"update"}},
		{APIGroups: []string{scalingGroup}, Resources: []string{"scalerbindings", "scalingschedules"}, Verbs: readVerbs},
		{
			APIGroups: []string{scalingGroup}, Resources: []string{"scalerbindings/status", "scalingschedules/status"},
			Verbs: []string{"get", "update", "patch"},
		},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: allVerbs},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments/scale"}, Verbs: []string{"get", "update", "patch"}},
		{APIGroups: []string{"autoscaling"}, Resources: []string{"horizontalpodautoscalers"}, Verbs: allVerbs}, // of the class HPA
		// CPU and memory in use, for revisions that are scaled on them.
		{APIGroups: []string{"metrics.k8s.io"}, Resources: []string{string(corev1.ResourcePods)}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{""}, Resources: []string{string(corev1.ResourcePods)}, Verbs: readVerbs},
		{APIGroups: []string{""}, Resources: []string{"pods/log"}, Verbs: []string{"get"}}, // last words of a container that crashed
		// The placeholders, by which pods find Routes.
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: allVerbs},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: readVerbs},
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"get"}}, // names of image pull secrets
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		// Certificates for Envoys and gRPC clients of others. RBAC holds a watch to these names by its field selector.
		{
			APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: ClientSecrets,
			Verbs: append([]string{"update"}, readVerbs...),
		},
	}
	if o.UserSecrets {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: readVerbs})
	}
	return rules
}

func subresources(of string) []string {
	var all []string
	for _, kind := range []string{"services", "configurations", "routes", "revisions", "domainmappings"} {
		all = append(all, kind+"/"+of)
	}
	return all
}

// ownRules are what controllers may do in their own namespace. RBAC cannot bind a creation to names.
func ownRules(o Options) []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		{
			APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: append(config.Names(), lastGood), Verbs: readVerbs,
		},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{lastGood}, Verbs: []string{"update"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: Secrets, Verbs: []string{"get", "update", "patch"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
		{
			APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{Lease},
			Verbs: []string{"get", "update", "patch"},
		},
	}
	if o.TLSSecret != "" {
		rules = append(rules, rbacv1.PolicyRule{
			APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{o.TLSSecret}, Verbs: readVerbs,
		})
	}
	return rules
}

// statusRules are what sluice xds and sluice explain need in the namespace: they find the leader, and connect to its pod.
func statusRules() []rbacv1.PolicyRule {
	get := []string{"get"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{Lease}, Verbs: get},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{StatusSecret}, Verbs: get},
		// WebSocket asks for get, SPDY for create.
		{APIGroups: []string{""}, Resources: []string{"pods/portforward"}, Verbs: []string{"get", "create"}},
	}
}

// userRoles give users of Kubernetes' own roles admin, edit and view the same on the kinds of the API.
func userRoles() []Object {
	var all []Object
	for _, r := range []struct {
		name  string
		verbs []string
	}{
		{"admin", []string{"*"}},
		{"edit", []string{"create", "update", "patch", "delete"}},
		{"view", readVerbs},
	} {
		l := with(labels(""), "rbac.authorization.k8s.io/aggregate-to-"+r.name, "true")
		all = append(all, &rbacv1.ClusterRole{
			TypeMeta:   typeMeta(rbacVersion, "ClusterRole"),
			ObjectMeta: metav1.ObjectMeta{Name: "sluice-namespaced-" + r.name, Labels: l},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{servingGroup, scalingGroup}, Resources: []string{"*"}, Verbs: r.verbs}},
		})
	}
	return all
}
