package install

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/crds"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// cases are installations that differ in what is a part of them.
var cases = map[string]func(*Options){
	"default": func(*Options) {},
	"builtin": func(o *Options) {
		o.Gateway, o.ServiceType, o.Routes = Builtin, string(corev1.ServiceTypeNodePort), "inline"
	},
	"none-tls": func(o *Options) {
		o.Gateway, o.TLSSecret, o.UserSecrets, o.Namespace, o.Domain = None, "wildcard", true, "elsewhere", "apps.example.org"
		o.RecordUsers = true
	},
}

// TestManifest compares with testdata/NAME.yaml, which lacks the definitions of the kinds: these stand in crds/yaml.
func TestManifest(t *testing.T) {
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			o := Defaults()
			change(&o)
			if err := o.Check(); err != nil {
				t.Fatal(err)
			}
			parts, err := Parts(o)
			if err != nil {
				t.Fatal(err)
			}
			var objects []Object
			for _, p := range parts {
				if p.Name != "crds" {
					objects = append(objects, p.Objects...)
				}
			}
			got, err := YAML(objects)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("go test -update rewrites %s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func TestEverythingIsThereBeforeItIsNeeded(t *testing.T) {
	objects := objectsOf(t, Defaults())
	rank := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "Service", "Deployment"}
	last := map[string]int{}
	for i, o := range objects {
		last[o.GetObjectKind().GroupVersionKind().Kind] = i
	}
	for i, o := range objects {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		if kind == "Service" && o.GetName() == controller {
			for j, other := range objects {
				if j < i && other.GetObjectKind().GroupVersionKind().Kind == "Deployment" {
					t.Errorf("Deployment %s comes before Service %s, by whose variables its pods find the controller", other.GetName(),
						o.GetName())
				}
			}
		}
		if o.GetNamespace() != "" && i < last[rank[0]] {
			t.Errorf("%s %s comes before its namespace", kind, o.GetName())
		}
	}
	if last["CustomResourceDefinition"] > slices.IndexFunc(objects, func(o Object) bool {
		return o.GetObjectKind().GroupVersionKind().Kind == "Deployment"
	}) {
		t.Error("a Deployment comes before the definitions of the kinds that it reads")
	}
}

func TestDefinitionsAreThoseOfTheAPI(t *testing.T) {
	definitions, err := crds.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, o := range objectsOf(t, Defaults()) {
		if o.GetObjectKind().GroupVersionKind().Kind == "CustomResourceDefinition" {
			found++
		}
	}
	if found != len(definitions) {
		t.Errorf("%d definitions, want %d", found, len(definitions))
	}
}

func TestTheSameOptionsMakeTheSameBytes(t *testing.T) {
	first, err := YAML(objectsOf(t, Defaults()))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := YAML(objectsOf(t, Defaults()))
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("another text, or the error %v", err)
		}
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for flag, change := range map[string]func(*Options){
		"namespace":           func(o *Options) { o.Namespace = "Not-a-name" },
		"domain":              func(o *Options) { o.Domain = "a b" },
		"tls-secret":          func(o *Options) { o.TLSSecret = "a/b" },
		"gateway":             func(o *Options) { o.Gateway = "nginx" },
		"image-pull-policy":   func(o *Options) { o.PullPolicy = "never" },
		"service-type":        func(o *Options) { o.ServiceType = "ExternalName" },
		"routes":              func(o *Options) { o.Routes = "" },
		"controller-replicas": func(o *Options) { o.ControllerReplicas = 0 },
		"gateway-replicas":    func(o *Options) { o.GatewayReplicas = -1 },
		"image":               func(o *Options) { o.Image = "" },
		"envoy-image":         func(o *Options) { o.EnvoyImage = "envoy latest" },
	} {
		o := Defaults()
		change(&o)
		if err := o.Check(); err == nil || !strings.HasPrefix(err.Error(), "--"+flag+" is ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("with a wrong --%s the error is %v", flag, err)
		}
	}
	if err := (Options{}).Check(); err == nil || strings.Count(err.Error(), "\n") < 10 {
		t.Errorf("without any options the error is %v", err)
	}
}

func objectsOf(t *testing.T, o Options) []Object {
	t.Helper()
	all, err := Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func deploymentsOf(t *testing.T, o Options) []*appsv1.Deployment {
	t.Helper()
	var all []*appsv1.Deployment
	for _, object := range objectsOf(t, o) {
		if d, ok := object.(*appsv1.Deployment); ok {
			all = append(all, d)
		}
	}
	return all
}

// TestTheEndOfAPodIsLongEnoughForItsDrain compares the grace periods with what processes take to end.
func TestTheEndOfAPodIsLongEnoughForItsDrain(t *testing.T) {
	for _, d := range deploymentsOf(t, Defaults()) {
		var needs int64
		if d.Name != controller {
			needs = int64(stage.Drain.Seconds())
		}
		pod := d.Spec.Template.Spec
		if l := pod.Containers[0].Lifecycle; l != nil {
			needs += l.PreStop.Sleep.Seconds
		}
		if *pod.TerminationGracePeriodSeconds < needs+10 {
			t.Errorf("pods of %s are killed after %d s, and need %d s to end", d.Name, *pod.TerminationGracePeriodSeconds, needs)
		}
	}
}
