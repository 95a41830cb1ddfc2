package facts

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/apiserver"
)

// What a control plane would have made of two Services, and a revision that only a Route names.
const objects = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec: {template: {spec: {containers: [{image: a/b}]}}}
---
apiVersion: serving.knative.dev/v1
kind: Configuration
metadata: {name: hello}
spec: {template: {spec: {containers: [{image: a/b}]}}}
---
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {name: hello-00001, labels: {serving.knative.dev/configuration: hello}, annotations: {autoscaling.knative.dev/target-burst-capacity: "7"}}
spec: {containers: [{image: a/b}]}
---
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {name: other-00001}
spec: {containers: [{image: a/b}]}
---
apiVersion: serving.knative.dev/v1
kind: Route
metadata: {name: hello}
spec: {traffic: [{configurationName: hello, percent: 60}, {revisionName: other-00001, percent: 40}]}
---
apiVersion: serving.knative.dev/v1
kind: Route
metadata: {name: bye}
spec: {traffic: [{configurationName: hello, percent: 100}]}
---
apiVersion: serving.knative.dev/v1beta1
kind: DomainMapping
metadata: {name: www.example.com}
spec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}
---
apiVersion: serving.knative.dev/v1beta1
kind: DomainMapping
metadata: {name: other.example.com}
spec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}
`

// serve starts an API server with the objects, and returns its data directory.
func serve(t *testing.T) string {
	t.Helper()
	klog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "sluice-facts-") // not t.TempDir: its paths are longer than a socket's may be
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	api, err := apiserver.Start(ctx, apiserver.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := api.Wait(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir) // in the folder for temporary files
	})
	if err := manifest.Apply(ctx, api.Config(), manifest.Decode("objects", strings.NewReader(objects)), hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// names are kinds and names of objects, sorted.
func names(o explain.Objects) []string {
	var all []string
	for _, s := range o.Services {
		all = append(all, "service "+s.Key.Name)
	}
	for _, c := range o.Configurations {
		all = append(all, "configuration "+c.Key.Name)
	}
	for _, r := range o.Routes {
		all = append(all, "route "+r.Key.Name)
	}
	for _, m := range o.Mappings {
		all = append(all, "mapping "+m.Key.Name)
	}
	for _, r := range o.Revisions {
		all = append(all, "revision "+r.Key.Name)
	}
	slices.Sort(all)
	return all
}

func TestObjectsAreThoseThatTheQueryLeadsTo(t *testing.T) {
	dir := serve(t)
	source := Source{XDS: &transport.DialOptions{DataDir: dir}, Timeout: time.Minute}
	key := func(name string) model.Key { return model.Key{Namespace: "default", Name: name} }
	family := []string{"configuration hello", "revision hello-00001", "revision other-00001", "route hello", "service hello"}
	for name, c := range map[string]struct {
		query explain.Query
		want  []string
	}{
		"a Service and what its Route names": {explain.Query{Key: key("hello")}, family},
		"a Route alone": {explain.Query{Key: key("bye")},
			[]string{"configuration hello", "revision hello-00001", "route bye"}},
		"a host, with all Routes": {explain.Query{Host: "hello.default.svc.cluster.local"},
			append([]string{"route bye"}, family...)},
		"a host that is mapped": {explain.Query{Host: "www.example.com"},
			append([]string{"mapping www.example.com", "route bye"}, family...)},
		"a host that nobody has":  {explain.Query{Host: "x.example.com"}, []string{"route bye", "route hello"}},
		"a name that nothing has": {explain.Query{Key: key("helo")}, []string{"route bye", "route hello", "service hello"}},
		"the name of a revision": {explain.Query{Key: key("other-00001")},
			[]string{"revision other-00001", "route bye", "route hello", "service hello"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, failure := source.objects(t.Context(), c.query)
			if failure != nil {
				t.Fatal(failure.Message)
			}
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, names(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			for _, r := range got.Revisions {
				if r.Desired != model.UnknownReplicas || r.Actual != model.UnknownReplicas ||
					(r.Key.Name == "hello-00001") != (r.BurstCapacity == "7") {
					t.Errorf("%s has %d of %d replicas and burst capacity %q", r.Key.Name, r.Actual, r.Desired, r.BurstCapacity)
				}
			}
		})
	}

	// Nobody serves xDS from that directory: it is the views that are not known.
	in := source.Gather(t.Context(), explain.Query{Key: key("hello")})
	if in.Unreadable != nil || in.Unknown == nil ||
		!strings.Contains(in.Unknown.Message, "no sluice up runs with the data directory "+dir) {
		t.Errorf("without an xDS server: %+v, %+v", in.Unreadable, in.Unknown)
	}
}

func TestAPIThatCannotBeReachedIsNamedWithARemedy(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	dir := t.TempDir()
	source := Source{XDS: &transport.DialOptions{DataDir: dir}, Timeout: time.Minute}
	in := source.Gather(t.Context(), explain.Query{Key: model.Key{Namespace: "default", Name: "hello"}})
	if f := in.Unreadable; f == nil || !strings.Contains(f.Message, filepath.Join(dir, "kubeconfig")+" and KUBECONFIG") ||
		!strings.Contains(f.Remedy, "--kubeconfig") {
		t.Errorf("without a kubeconfig: %+v", f)
	}
	source.Kubeconfig = filepath.Join(dir, "other")
	text := "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], " +
		"clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: a}]}"
	if err := os.WriteFile(source.Kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in = source.Gather(t.Context(), explain.Query{Key: model.Key{Namespace: "default", Name: "hello"}})
	if f := in.Unreadable; f == nil || !strings.Contains(f.Message, "http://127.0.0.1:1") ||
		!strings.Contains(f.Message, source.Kubeconfig) {
		t.Errorf("nobody listens: %+v", f)
	}
}
