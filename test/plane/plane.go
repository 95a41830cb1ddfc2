// Package plane lets tests that start `sluice up` reach what it runs: Services of namespace default through its API, and the processes of
// its replicas. It starts nothing itself.
package plane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
)

// Connect makes a client of the API of a kubeconfig, without a rate limit.
func Connect(t testing.TB, kubeconfig string) (client.Client, *rest.Config) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{servingv1.AddToScheme, servingv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c, config
}

// Service reads a Service. The result is empty when there is none.
func Service(t testing.TB, c client.Client, name string) *servingv1.Service {
	t.Helper()
	o := &servingv1.Service{}
	err := c.Get(context.Background(), types.NamespacedName{Namespace: "default", Name: name}, o)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return o
}

// Change updates a Service, and tries again after a conflict.
func Change(t testing.TB, c client.Client, name string, change func(*servingv1.Service)) {
	t.Helper()
	for {
		o := Service(t, c, name)
		change(o)
		err := c.Update(context.Background(), o)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
}

// Unready returns why a Service is not ready in its newest generation; nil when it is.
func Unready(o *servingv1.Service) error {
	c := o.Status.Condition("Ready")
	if c == nil || c.Status != "True" || o.Status.ObservedGeneration != o.Generation {
		return fmt.Errorf("generation %d, status %+v", o.Generation, o.Status)
	}
	return nil
}

// Replicas lists the pids of a revision's processes, or of all revisions' where it is empty, of the `sluice up` in a folder. It finds them
// by the folder in their environment: their PATH begins with the data directory's bin. It skips the test where there is no /proc.
func Replicas(t testing.TB, dir, revision string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("skipped: no /proc to find processes in")
	}
	mark := "K_REVISION="
	if revision != "" {
		mark += revision + "\x00"
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		environment, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && strings.Contains(string(environment), dir) && strings.Contains(string(environment), mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}
