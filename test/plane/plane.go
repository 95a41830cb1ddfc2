// Package plane lets tests reach what a running `sluice up` serves and runs: Services of namespace default through its API, and the
// processes of its replicas. It starts nothing.
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
)

// Connect makes a client of the API that a kubeconfig names, without a rate limit.
func Connect(t testing.TB, kubeconfig string) (client.Client, *rest.Config) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := servingv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c, config
}

// Service reads a Service; it is empty when there is none.
func Service(t testing.TB, c client.Client, name string) *servingv1.Service {
	t.Helper()
	o := &servingv1.Service{}
	err := c.Get(context.Background(), types.NamespacedName{Namespace: "default", Name: name}, o)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return o
}

// Change updates a Service, and tries again on a conflict.
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

// Unready returns why a Service is not ready in its newest generation; nil when it is ready.
func Unready(o *servingv1.Service) error {
	c := o.Status.Condition("Ready")
	if c == nil || c.Status != "True" || o.Status.ObservedGeneration != o.Generation {
		return fmt.Errorf("generation %d, status %+v", o.Generation, o.Status)
	}
	return nil
}

// Replicas lists the pids of a revision's processes, of all revisions if it is empty. They belong to the `sluice up` of a folder, which
// their environment contains, since PATH begins with the data directory's bin. Without /proc the test is skipped.
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
