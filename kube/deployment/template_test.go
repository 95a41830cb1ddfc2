package deployment

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

func testConfig() Config {
	return Config{
		QueueProxy: "sluice.example/queue-proxy:1", ActivatorKey: contract.NewSigner("secret").Key().String(),
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("25m")}},
	}
}

// TestDeployments compares the Deployments of the Revisions in testdata with those beside them.
func TestDeployments(t *testing.T) {
	for file, r := range goldenRevisions(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			w := workloadOf(r)
			w.Replicas = 2
			got := ""
			if d, err := Deployment(w, r, testConfig()); err != nil {
				got = "error: " + err.Error() + "\n"
			} else {
				data, err := yaml.Marshal(d)
				if err != nil {
					t.Fatal(err)
				}
				got = string(data)
			}
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "deployment.yaml", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
				t.Errorf("Deployment (-want +got):\n%s", diff)
			}
		})
	}
}

// goldenRevisions returns the Revisions in testdata, by file.
func goldenRevisions(t *testing.T) map[string]*servingv1.Revision {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	revisions := map[string]*servingv1.Revision{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil || len(archive.Files) == 0 {
			t.Fatalf("reading %s: %v", file, err)
		}
		r := &servingv1.Revision{}
		if err := yaml.UnmarshalStrict(archive.Files[0].Data, r); err != nil {
			t.Fatalf("reading the Revision of %s: %v", file, err)
		}
		revisions[file] = r
	}
	return revisions
}

// workloadOf returns what the adapter gives the runtime for a Revision. What one machine lacks is no problem here.
func workloadOf(r *servingv1.Revision) model.Workload {
	w, _ := convert.Workload(r)
	return w
}

func TestHashFollowsTheTemplateAlone(t *testing.T) {
	r := newRevision("hello-00001")
	hash := func(r *servingv1.Revision, replicas int, c Config) string {
		w := workloadOf(r)
		w.Replicas = replicas
		d, err := Deployment(w, r, c)
		if err != nil {
			t.Fatal(err)
		}
		return d.Annotations[HashAnnotation]
	}
	before := hash(r, 1, testConfig())
	routed := r.DeepCopy()
	routed.Labels[servingv1.RoutingStateLabel] = servingv1.RoutingStateReserve
	routed.Annotations = map[string]string{servingv1.RoutesAnnotation: "hello", servingv1.NoGCAnnotation: "true", "example.org/owner": "me"}
	routed.Labels["example.org/team"] = "mine"
	if hash(routed, 5, testConfig()) != before {
		t.Error("the replicas, the Routes, the retention, or a label or annotation of a revision change its pods")
	}
	larger := r.DeepCopy()
	larger.Annotations = map[string]string{"queue.sidecar.serving.knative.dev/cpu-resource-request": "2"}
	if hash(larger, 1, testConfig()) == before {
		t.Error("an annotation for the resources of the sidecar does not change the pods")
	}
	newer := testConfig()
	newer.QueueProxy = "sluice.example/queue-proxy:2"
	if hash(r, 1, newer) == before {
		t.Error("another queue-proxy does not change the pods")
	}
}

func TestPodsRunTheImagesThatTheStatusHas(t *testing.T) {
	r := newRevision("hello-00001")
	r.Spec.Containers = []servingv1.Container{
		{Image: "example.org/side", Name: "side"}, {Image: "example.org/hello", Ports: []servingv1.ContainerPort{{}}},
	}
	r.Status.ContainerStatuses = []servingv1.ContainerStatus{
		{Name: "side", ImageDigest: "example.org/side@sha256:1"}, {Name: "user-container-0", ImageDigest: "example.org/hello@sha256:2"},
	}
	d, err := Deployment(workloadOf(r), r, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	var images []string
	for _, c := range d.Spec.Template.Spec.Containers {
		images = append(images, c.Image)
	}
	if want := []string{"example.org/side@sha256:1", "example.org/hello@sha256:2", testConfig().QueueProxy}; !slices.Equal(images, want) {
		t.Errorf("the pods run %v, want %v", images, want)
	}
}

func TestNameFitsALabel(t *testing.T) {
	short, long := strings.Repeat("a", 52), strings.Repeat("a", 53)
	if got, want := Name(short), short+"-deployment"; got != want {
		t.Errorf("Name(%q) = %q, want %q", short, got, want)
	}
	if got := Name(long); len(got) != 63 || got == Name(long[1:]+"b") {
		t.Errorf("Name(%q) = %q, want 63 characters of its own", long, got)
	}
}

func BenchmarkDeployment(b *testing.B) {
	r := newRevision("hello-00001")
	w := workloadOf(r)
	for b.Loop() {
		if _, err := Deployment(w, r, testConfig()); err != nil {
			b.Fatal(err)
		}
	}
}
