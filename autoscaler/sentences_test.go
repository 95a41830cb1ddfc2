package autoscaler

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestRefusalsAreKnativesSentences(t *testing.T) {
	text, err := os.ReadFile("testdata/sentences.txt")
	if err != nil {
		t.Fatal(err)
	}
	config, compared := DefaultConfig(), 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		want, err := strconv.Unquote(f[2])
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range strings.Fields(f[1]) {
			k, v, _ := strings.Cut(s, "=")
			if f[0] == "annotations" {
				k = group + k
			}
			settings[k] = v
		}
		if f[0] == "annotations" {
			err = Validate(&config, settings)
		} else {
			_, err = ParseConfig(settings)
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s %s:\n got %q\nwant %q", f[0], f[1], got, want)
		}
		compared++
	}
	if compared < 80 {
		t.Errorf("compared %d sentences, want 80 or more", compared)
	}
}

// Nonsense is refused as the value of each annotation, in both spellings, or becomes another class.
func TestNamesAreThoseOfTheAnnotations(t *testing.T) {
	c := DefaultConfig()
	names := Names()
	if !slices.IsSorted(names) {
		t.Errorf("not sorted: %v", names)
	}
	for _, name := range names {
		full, ok := Annotation(name)
		for _, key := range []string{full, group + cmp.Or(camel[name], name)} {
			a := map[string]string{group + keyClass: KPA, key: "nonsense.knative.dev"}
			if err := Validate(&c, a); !ok || err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("nonsense as %s: %v", key, err)
			}
		}
	}
	for alias := range camel {
		if !slices.Contains(names, alias) {
			t.Errorf("%s has another spelling and is no name", alias)
		}
	}
	for _, name := range []string{"", "taget", "minScale", group + "target"} {
		if _, ok := Annotation(name); ok {
			t.Errorf("%q is a name", name)
		}
	}
}

func TestUnknownKeysAreTold(t *testing.T) {
	data := map[string]string{
		"_example": "stable-window: 60s", "stable-windw": "60s", "stable-window": "60s", "pod-autoscaler-class": KPA, "Min-scale": "1",
	}
	if got, want := UnknownKeys(data), []string{"Min-scale", "stable-windw"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := ParseConfig(data); err != nil {
		t.Errorf("unknown keys are left alone, as in Knative: %v", err)
	}
}

func TestConfigurationForbidsNothingToExistingRevisions(t *testing.T) {
	c := DefaultConfig()
	c.MaxScale, c.MaxScaleLimit = 5, 5
	a := map[string]string{group + keyMaxScale: "9", group + keyInitialScale: "0"}
	if err := Validate(&c, a); err == nil {
		t.Error("a new revision may have what the configuration forbids")
	}
	if err := ValidateExisting(&c, a); err != nil {
		t.Errorf("an existing revision may not: %v", err)
	}
	a[group+keyTarget] = "0"
	if err := ValidateExisting(&c, a); err == nil {
		t.Error("a wrong annotation of an existing revision is right")
	}
}
