package remote

import (
	"os"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

func TestHolderOfTheLeaseNamesThePod(t *testing.T) {
	for _, c := range []struct {
		holder, pod string
		port        int
		wrong       string
	}{
		{holder: "controller-7d_10.0.0.7:18000", pod: "controller-7d", port: 18000},
		{holder: "controller_x_[fd00::7]:18001", pod: "controller_x", port: 18001},
		{holder: "", wrong: "no controller leads"},
		{holder: "somebody", wrong: `"somebody" is not`},
		{holder: "a_b:c", wrong: `"a_b:c" is not`},
		{holder: "_10.0.0.7:18000", wrong: "is not"},
	} {
		pod, port, err := holder(&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &c.holder}})
		if c.wrong == "" && (err != nil || pod != c.pod || port != c.port) || c.wrong != "" &&
			(err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q: pod %q, port %d, error %v", c.holder, pod, port, err)
		}
	}
	if _, _, err := holder(&coordinationv1.Lease{}); err == nil {
		t.Error("a Lease without a holder has one")
	}
}

// Each error names what is missing, and what to do. Only the last step needs a kubelet: the tests in a cluster have it.
func TestWhatIsMissingIsNamed(t *testing.T) {
	config := kubeapi.Start(t)
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	const namespace = "default"
	fails := func(config *rest.Config, wants ...string) {
		t.Helper()
		_, _, err := Installation{Config: config, Namespace: namespace}.Open(t.Context())
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want one with %q", err, want)
			}
		}
	}
	fails(config, "the Lease default/sluice-controller", config.Host, "not installed there, or in another namespace")

	holder := "gone_127.0.0.1:18000"
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: install.Lease},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
	if _, err := api.CoordinationV1().Leases(namespace).Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fails(config, "the Secret default/sluice-xds-status")

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: install.StatusSecret}, Data: map[string][]byte{"tls.crt": []byte("x")}}
	if secret, err = api.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fails(config, "the Secret default/sluice-xds-status", "delete it")
	ca := authority.New(t)
	secret.Data["tls.crt"], secret.Data["tls.key"] = ca.Sign("spiffe://sluice/status")
	if secret.Data["ca.crt"], err = os.ReadFile(ca.File); err != nil {
		t.Fatal(err)
	}
	if _, err = api.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	fails(config, "the leading controller default/gone is gone", "ask again")

	// An account gets as far as the Role lets it.
	user := rest.CopyConfig(config)
	user.Impersonate = rest.ImpersonationConfig{UserName: "viewer", Groups: []string{"system:authenticated"}}
	fails(user, "your account may not", "get on leases", "Role xds-status")
	var role *rbacv1.Role
	objects, err := install.Objects(install.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if r, ok := o.(*rbacv1.Role); ok && r.Name == install.StatusRole {
			role = r
		}
	}
	role.Namespace = namespace
	if _, err := api.RbacV1().Roles(namespace).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "viewer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "viewer"}},
	}
	if _, err := api.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The authorizer of the API server learns of the binding by a watch.
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, _, err := (Installation{Config: user, Namespace: namespace}).Open(t.Context()); !strings.Contains(err.Error(), "may not") {
			break
		}
	}
	fails(user, "the leading controller default/gone is gone")
}
