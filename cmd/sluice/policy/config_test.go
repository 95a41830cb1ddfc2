package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/autoscaler"
)

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config-autoscaler.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAutoscalerConfigIsReadFromBothForms(t *testing.T) {
	want := autoscaler.DefaultConfig()
	want.StableWindow, want.MaxScale, want.ScaleToZero, want.MaxScaleUpRate = 30*time.Second, 10, false, 2.5
	for name, text := range map[string]string{
		"a ConfigMap": `
apiVersion: v1
kind: ConfigMap
metadata: {name: config-autoscaler, namespace: knative-serving}
data:
  _example: |
    stable-window: "60s"
  stable-window: "30s"
  max-scale: "10"
  enable-scale-to-zero: "false"
  max-scale-up-rate: "2.5"
`,
		"keys alone": "stable-window: 30s\nmax-scale: 10\nenable-scale-to-zero: false\nmax-scale-up-rate: 2.5\n",
	} {
		got, _, err := ReadConfig(configFile(t, text))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	for _, text := range []string{"", "# nothing\n", "kind: ConfigMap\n"} {
		if got, _, err := ReadConfig(configFile(t, text)); got != autoscaler.DefaultConfig() || err != nil {
			t.Errorf("%q: %+v, %v; want the defaults", text, got, err)
		}
	}
	if got, _, err := ReadConfig(""); got != autoscaler.DefaultConfig() || err != nil {
		t.Errorf("no file: %+v, %v; want the defaults", got, err)
	}
}

func TestWrongAutoscalerConfigNamesFileAndKey(t *testing.T) {
	for text, want := range map[string]string{
		"stable-window: soon":                    `stable-window is "soon", want a duration such as 60s`,
		"stable-window: 1s":                      "stable-window = 1s, must be in",
		"max-scale: [1]":                         `"max-scale" is no string`,
		"kind: ConfigMap\ndata: {max-scale: 10}": `"max-scale" is 10, and a ConfigMap holds strings: write "10"`,
		"kind: ConfigMap\ndata: [max-scale]":     "data is no map",
		"kind: Service":                          "its kind is Service, want a ConfigMap",
		"- a list":                               "this is not YAML with keys and values",
		"{":                                      "this is not YAML",
		"stable-window: |\n" + strings.Repeat(" ", 2<<20): "over 1048576 bytes",
	} {
		path := configFile(t, text)
		_, _, err := ReadConfig(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.60q: got %v, want %q and the file in it", text, err, want)
		}
	}
	if _, _, err := ReadConfig("absent.yaml"); err == nil || !strings.Contains(err.Error(), "absent.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestKeysOfAutoscalerConfigThatNothingReadsAreReturned(t *testing.T) {
	path := configFile(t, "stable-windw: 30s\nmax-scale: 10\nMin-scale: 1\n")
	c, unknown, err := ReadConfig(path)
	if want := []string{"Min-scale", "stable-windw"}; err != nil || c.MaxScale != 10 || !slices.Equal(unknown, want) {
		t.Errorf("unknown %q, max-scale %d, %v; want %q, and the rest read", unknown, c.MaxScale, err, want)
	}
}
