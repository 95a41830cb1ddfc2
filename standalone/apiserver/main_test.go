package apiserver

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// shared is the server of all tests that need no server of their own. Each test uses a namespace of its own.
var shared *Server

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "apiserver-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithCancel(context.Background())
	if shared, err = Start(ctx, Options{Dir: dir, Listen: "127.0.0.1:0"}); err != nil {
		cancel()
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	cancel()
	if err := shared.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// start starts a server for one test, and returns it and a function that stops it.
func start(t testing.TB, dir string) (s *Server, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Start(ctx, Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	stop = func() {
		cancel()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// objects returns a client of one kind in one namespace; resource is the plural.
func objects(t testing.TB, s *Server, resource, namespace string) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(servingv1.GroupVersion.WithResource(resource)).Namespace(namespace)
}

// object reads a manifest.
func object(t testing.TB, manifest string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// create creates the object of a manifest and returns what was stored.
func create(t testing.TB, c dynamic.ResourceInterface, manifest string) *unstructured.Unstructured {
	t.Helper()
	u, err := c.Create(t.Context(), object(t, manifest), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// The smallest objects that are accepted.
const (
	service = `{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: hello},
		spec: {template: {spec: {containers: [{image: hello, ports: [{containerPort: 8080}]}]}}}}`
	configuration = `{apiVersion: serving.knative.dev/v1, kind: Configuration, metadata: {name: hello},
		spec: {template: {spec: {containers: [{image: hello}]}}}}`
	revision = `{apiVersion: serving.knative.dev/v1, kind: Revision, metadata: {name: hello-00001},
		spec: {containers: [{image: hello}]}}`
	route = `{apiVersion: serving.knative.dev/v1, kind: Route, metadata: {name: hello},
		spec: {traffic: [{configurationName: hello, percent: 100}]}}`
)
