package feature

import (
	"os/exec"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// run runs sluice in an empty folder and returns what it prints.
func run(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), sluiceBinary, args...)
	cmd.Dir = t.TempDir()
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sluice %v: %v\n%s", args, err, errors.String())
	}
	return string(out), errors.String()
}

func TestTranslatePrintsTheResourcesWithoutAServer(t *testing.T) {
	t.Parallel()
	out, problems := run(t, "translate", "-f", absolute(t, "examples/canary"))
	for _, want := range []string{
		"hello.default.localhost", "blue-hello.default.localhost", "default/hello-blue", "default/hello-green", "weight: 70", "weight: 30",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in what translate prints:\n%s", want, out)
		}
	}
	if err := yaml.Unmarshal([]byte(out), &map[string]any{}); err != nil {
		t.Errorf("translate does not print YAML: %v", err)
	}
	// hello-blue is only in the first document, which the second one replaces.
	if !strings.Contains(problems, "hello-blue") {
		t.Errorf("translate does not say that it assumes that hello-blue exists: %q", problems)
	}
	again, _ := run(t, "translate", "-f", absolute(t, "examples/canary"))
	if again != out {
		t.Error("the same manifests gave different resources the second time")
	}
}

func TestBootstrapIsAnEnvoyConfiguration(t *testing.T) {
	t.Parallel()
	out, _ := run(t, "bootstrap", "--xds", "127.0.0.1:18123", "--node-id", "edge-1")
	var config struct {
		Node struct {
			ID      string `json:"id"`
			Cluster string `json:"cluster"`
		} `json:"node"`
		DynamicResources struct {
			ADSConfig struct {
				APIType string `json:"api_type"`
			} `json:"ads_config"`
		} `json:"dynamic_resources"`
	}
	if err := yaml.Unmarshal([]byte(out), &config); err != nil {
		t.Fatal(err)
	}
	if config.Node.ID != "edge-1" || config.Node.Cluster != "gateway" || config.DynamicResources.ADSConfig.APIType != "DELTA_GRPC" ||
		!strings.Contains(out, "18123") {
		t.Errorf("bootstrap prints\n%s", out)
	}
}
