// Package kubeapi gives tests Kubernetes' own API server: one for all tests of a package, started by the first one that needs it.
package kubeapi

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// server is the API server of this process.
var server struct {
	once sync.Once
	env  *envtest.Environment
	rest *rest.Config
	err  error
}

// atOnce is how many parallel tests run at a time unless -parallel says otherwise. It does not depend on the number of cores: tests beside
// an API server mostly wait.
const atOnce = "4"

// patience is how long the API server may take to start, however busy the machine is.
const patience = 3 * time.Minute

// Main runs the tests of a package and then stops the API server. It is for TestMain, and does not return.
func Main(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(atOnce) // a number
	}
	code := m.Run()
	if server.env != nil {
		if err := server.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		}
	}
	os.Exit(code)
}

// Start returns how to reach the API server, which checks permissions by RBAC and has no controllers. Besides Kubernetes' own kinds it has
// those that the first call in a process names. It skips the test where KUBEBUILDER_ASSETS does not name a folder with kube-apiserver and
// etcd.
func Start(t testing.TB, kinds ...*apiextensionsv1.CustomResourceDefinition) *rest.Config {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set: this test needs a folder with kube-apiserver and etcd")
	}
	server.once.Do(func() {
		ctrl.SetLogger(logr.Discard())
		server.env = &envtest.Environment{CRDs: kinds, ControlPlaneStartTimeout: patience, ControlPlaneStopTimeout: patience}
		server.rest, server.err = server.env.Start()
	})
	if server.err != nil {
		t.Fatalf("starting the API server: %v", server.err)
	}
	return rest.CopyConfig(server.rest)
}
