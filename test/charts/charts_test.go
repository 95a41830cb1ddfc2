// Package charts checks deploy/ with the libraries of its users: kustomize and Helm make of it what `sluice install` prints, and the pods
// of all installations pass Pod Security's level "restricted". It is a module of its own, so that Sluice does not depend on Helm.
package charts

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/install/chart"
)

const deploy = "../../deploy"

func TestFilesAreThoseOfTheSources(t *testing.T) {
	for folder, make := range map[string]func(install.Options) ([]chart.File, error){"kustomize": chart.Kustomize,
		"helm/sluice": chart.Helm,
		"monitoring":  chart.MonitoringFiles} {
		files, err := make(install.Defaults())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Name)
			have, err := os.ReadFile(filepath.Join(deploy, folder, f.Name))
			if err != nil || !bytes.Equal(have, f.Text) {
				t.Errorf("%s/%s is not what the sources make (%v): run make generate", folder, f.Name, err)
			}
		}
		err = filepath.WalkDir(filepath.Join(deploy, folder), func(path string, d os.DirEntry, err error) error {
			name, _ := filepath.Rel(filepath.Join(deploy, folder), path)
			if err == nil && !d.IsDir() && !slices.Contains(names, filepath.ToSlash(name)) {
				t.Errorf("%s/%s comes from no source", folder, name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestKustomizeMakesWhatInstallPrints(t *testing.T) {
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(deploy, "kustomize"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	got, want := objects(t, text), installed(t, install.Defaults())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in this order (-install +kustomize):\n%s", diff)
	}
}

// The component adds to the base what --monitoring adds to an installation.
func TestKustomizeAddsTheMonitoring(t *testing.T) {
	disk := filesys.MakeFsInMemory()
	o := install.Defaults()
	for folder, make := range map[string]func(install.Options) ([]chart.File, error){"base": chart.Kustomize,
		"monitoring": chart.MonitoringFiles} {
		files, err := make(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := disk.WriteFile("/"+folder+"/"+f.Name, f.Text); err != nil {
				t.Fatal(err)
			}
		}
	}
	text := []byte("sortOptions: {order: fifo}\nresources: [../base]\ncomponents: [../monitoring]\n")
	if err := disk.WriteFile("/all/kustomization.yaml", text); err != nil {
		t.Fatal(err)
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/all")
	if err != nil {
		t.Fatal(err)
	}
	if text, err = made.AsYaml(); err != nil {
		t.Fatal(err)
	}
	o.Monitoring = true
	if diff := cmp.Diff(installed(t, o), objects(t, text)); diff != "" {
		t.Errorf("in this order (-install +kustomize):\n%s", diff)
	}
}

// installations are options, and the values of the chart for the same.
var installations = map[string]struct {
	change func(*install.Options)
	values map[string]any
}{
	"default": {func(*install.Options) {}, nil},
	"built-in": {
		func(o *install.Options) { o.Gateway, o.ServiceType, o.Routes = install.Builtin, "NodePort", "inline" },
		map[string]any{"gateway": "builtin", "serviceType": "NodePort", "routes": "inline"},
	},
	"none": {func(o *install.Options) { o.Gateway = install.None }, map[string]any{"gateway": "none"}},
	"replicas": {
		func(o *install.Options) { o.ControllerReplicas, o.ActivatorReplicas, o.GatewayReplicas = 3, 1, 5 },
		map[string]any{"replicas": map[string]any{"controller": 3, "activator": 1, "gateway": 5}},
	},
	"images": {
		func(o *install.Options) {
			o.Image, o.DataPlaneImage, o.QueueProxyImage = "r.example/a@sha256:00", "r.example/d:v1", "r.example:5000/b:v1"
			o.EnvoyImage, o.PullPolicy = "e:1", "Always"
		},
		map[string]any{"images": map[string]any{
			"sluice": "r.example/a@sha256:00", "dataPlane": "r.example/d:v1", "queueProxy": "r.example:5000/b:v1", "envoy": "e:1",
			"pullPolicy": "Always",
		}},
	},
	"a certificate": {func(o *install.Options) { o.TLSSecret = "wildcard" }, map[string]any{"tlsSecret": "wildcard"}},
	"users":         {func(o *install.Options) { o.RecordUsers = true }, map[string]any{"recordUsers": true}},
	"Secrets":       {func(o *install.Options) { o.UserSecrets = true }, map[string]any{"userSecrets": true}},
	"monitoring":    {func(o *install.Options) { o.Monitoring = true }, map[string]any{"monitoring": true}},
	"all": {
		func(o *install.Options) {
			o.Namespace, o.Domain, o.TLSSecret, o.UserSecrets = "123", "apps.example.org", "wildcard", true
			o.RecordUsers = true
		},
		map[string]any{"namespace": "123", "domain": "apps.example.org", "tlsSecret": "wildcard", "userSecrets": true, "recordUsers": true},
	},
}

func TestTheChartMakesWhatInstallPrints(t *testing.T) {
	for name, i := range installations {
		t.Run(name, func(t *testing.T) {
			o := install.Defaults()
			i.change(&o)
			if err := o.Check(); err != nil {
				t.Fatal(err)
			}
			want, got := byName(installed(t, o)), byName(rendered(t, i.values))
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("objects (-install +helm):\n%s", diff)
			}
			for name, object := range got {
				keep := object["metadata"].(map[string]any)
				if annotations, ok := keep["annotations"].(map[string]any); ok && object["kind"] == "CustomResourceDefinition" {
					if annotations["helm.sh/resource-policy"] != "keep" {
						t.Errorf("%s goes with the release, and all objects of its kind", name)
					}
					delete(annotations, "helm.sh/resource-policy")
				}
				if diff := cmp.Diff(want[name], object); diff != "" {
					t.Errorf("%s (-install +helm):\n%s", name, diff)
				}
			}
		})
	}
}

func TestTheChartCanLeaveOutTheNamespaceAndLetTheKindsGo(t *testing.T) {
	for name, object := range byName(rendered(t, map[string]any{"createNamespace": false, "keepCRDs": false})) {
		text, _ := object["metadata"].(map[string]any)
		annotations, _ := text["annotations"].(map[string]any)
		if object["kind"] == "Namespace" || annotations["helm.sh/resource-policy"] != nil {
			t.Errorf("the chart has %s with the annotations %v", name, annotations)
		}
	}
}

func TestTheChartRefusesWrongValues(t *testing.T) {
	for name, values := range map[string]map[string]any{
		"a gateway":            {"gateway": "nginx"},
		"a namespace":          {"namespace": "Not-a-name"},
		"a number of replicas": {"replicas": map[string]any{"gateway": 0}},
		"an unknown value":     {"replica": 3},
		"a type":               {"serviceType": "ExternalName"},
		"a domain":             {"domain": "a\nb"},
		"a policy":             {"images": map[string]any{"pullPolicy": "never"}},
	} {
		if _, err := render(values); err == nil || !strings.Contains(err.Error(), "values don't meet the specifications") {
			t.Errorf("with %s the error is %v", name, err)
		}
	}
}

// TestPodsAreRestricted asks the evaluator of the API server, at the newest version that it knows, as the namespace's label does.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for name, i := range installations {
		o := install.Defaults()
		i.change(&o)
		all, err := install.Objects(o)
		if err != nil {
			t.Fatal(err)
		}
		pods := 0
		for _, object := range all {
			d, ok := object.(*appsv1.Deployment)
			if !ok {
				continue
			}
			pods++
			template := d.Spec.Template
			for _, r := range evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec) {
				if !r.Allowed {
					t.Errorf("%s: pods of %s are refused: %s: %s", name, d.Name, r.ForbiddenReason, r.ForbiddenDetail)
				}
			}
			for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
				if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
					t.Errorf("%s: container %s of %s can write to its root", name, c.Name, d.Name)
				}
			}
		}
		if want := map[bool]int{true: 2, false: 3}[o.Gateway == install.None]; pods != want {
			t.Errorf("%s has %d Deployments, want %d", name, pods, want)
		}
	}
}

func installed(t *testing.T, o install.Options) []map[string]any {
	t.Helper()
	all, err := install.Objects(o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := install.YAML(all)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, text)
}

func rendered(t *testing.T, values map[string]any) []map[string]any {
	t.Helper()
	files, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all = append(all, objects(t, []byte(files[name]))...)
	}
	return all
}

func render(values map[string]any) (map[string]string, error) {
	c, err := loader.Load(filepath.Join(deploy, "helm/sluice"))
	if err != nil {
		return nil, err
	}
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "sluice", Namespace: "default"}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// objects reads documents of YAML.
func objects(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var all []map[string]any
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var o map[string]any
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(o) > 0 {
			all = append(all, o)
		}
	}
}

func byName(all []map[string]any) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, o := range all {
		m := o["metadata"].(map[string]any)
		namespace, _ := m["namespace"].(string)
		out[o["kind"].(string)+" "+namespace+"/"+m["name"].(string)] = o
	}
	return out
}
