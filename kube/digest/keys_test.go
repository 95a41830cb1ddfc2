package digest

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

// newCluster returns a client that may do everything, and one that may do what a Resolver needs: get ServiceAccounts and Secrets.
func newCluster(t *testing.T) (all, reader client.Client) {
	t.Helper()
	config := kubeapi.Start(t)
	all, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: "resolver"},
			Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets", "serviceaccounts"},
				Verbs: []string{"get"}}},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "resolver"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "resolver"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "resolver"}},
		},
	} {
		if err := all.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	user := rest.CopyConfig(config)
	user.Impersonate = rest.ImpersonationConfig{UserName: "resolver", Groups: []string{"system:authenticated"}}
	reader, err = client.New(user, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return all, reader
}

// Without --user-secrets, the controllers may read no Secrets of users.
func TestASecretThatMustNotBeReadIsNamedWithTheFlag(t *testing.T) {
	config := kubeapi.Start(t)
	user := rest.CopyConfig(config)
	user.Impersonate = rest.ImpersonationConfig{UserName: "controller-without-secrets", Groups: []string{"system:authenticated"}}
	all, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: user.Impersonate.UserName},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"get"}}},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user.Impersonate.UserName},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user.Impersonate.UserName},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user.Impersonate.UserName}},
		},
	} {
		if err := all.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	reader, err := client.New(user, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := revision(newRegistry(t, private("me", "secret")) + "/hello:v1")
	v.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "mine"}}
	_, err = New(Options{Credentials: reader}).Resolve(t.Context(), v)
	for _, want := range []string{`may not read the pull secret "mine"`, `a Role in the namespace "default"`, "--user-secrets"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %s", err, want)
		}
	}
}

func TestPrivateImagesAreResolvedWithThePodsCredentials(t *testing.T) {
	all, reader := newCluster(t)
	host := newRegistry(t, private("me", "secret"))
	image := host + "/hello:v1"
	digest := push(t, image, basic("me", "secret"))
	create := func(o client.Object) {
		t.Helper()
		o.SetNamespace("default")
		if err := all.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	secret := func(name, content string) {
		create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(content)},
		})
	}
	auths := func(password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"username":"me","password":%q}}}`, host, password)
	}
	secret("right", auths("secret"))
	secret("wrong", auths("guess"))
	secret("elsewhere", `{"auths":{"example.org":{"username":"me","password":"secret"}}}`)
	create(&corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "app"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "right"}},
	})

	r := New(Options{Credentials: reader})
	for what, c := range map[string]struct {
		account string
		secrets []string
		problem string // part of the error
	}{
		"a pull secret of the revision":           {secrets: []string{"right"}},
		"a pull secret of its service account":    {account: "app"},
		"a secret that does not exist beside one": {secrets: []string{"none", "right"}},
		"a secret for another registry":           {secrets: []string{"elsewhere"}, problem: "UNAUTHORIZED"},
		"a wrong password":                        {secrets: []string{"wrong"}, problem: "UNAUTHORIZED"},
		"no secret":                               {problem: "UNAUTHORIZED"},
		"a service account that does not exist":   {account: "none", problem: "UNAUTHORIZED"},
	} {
		t.Run(what, func(t *testing.T) {
			v := revision(image)
			v.Spec.ServiceAccountName = c.account
			for _, name := range c.secrets {
				v.Spec.ImagePullSecrets = append(v.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
			}
			images, err := r.Resolve(t.Context(), v)
			if c.problem == "" && (err != nil || images["a"] != host+"/hello@"+digest) {
				t.Errorf("got %v and %v, want digest %s", images, err, digest)
			}
			if c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem) || strings.Contains(err.Error(), "guess")) {
				t.Errorf("the error is %v, want one with %s and without the password", err, c.problem)
			}
		})
	}
}
