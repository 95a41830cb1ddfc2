package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page for users must have each key that is read, and no other.
func TestPageHasEveryKey(t *testing.T) {
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	for _, m := range configMaps {
		_, section, found := strings.Cut(string(page), "\n## "+m.name+"\n")
		if !found {
			t.Errorf("docs/configuration.md has no section %s", m.name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		onPage := map[string]string{}
		for _, match := range row.FindAllStringSubmatch(section, -1) {
			onPage[match[1]] = ""
		}
		k, settings := newKeys(onPage), Default()
		m.read(&settings, k)
		if unknown := k.notes().Unknown; len(unknown) > 0 {
			t.Errorf("docs/configuration.md has keys of %s that nothing reads: %v", m.name, unknown)
		}
		for _, key := range slices.Sorted(maps.Keys(k.known)) {
			if _, ok := onPage[key]; !ok && k.known[key] && key != exampleKey {
				t.Errorf("docs/configuration.md lacks the key %s of %s", key, m.name)
			}
		}
	}
}

// Knative's example of each ConfigMap, with every key at its default, changes nothing.
func TestDefaultsInWordsAreDefaults(t *testing.T) {
	for name, data := range map[string]map[string]string{
		DefaultsName: {
			keyTimeout: "300", keyMaxTimeout: "600", keyResponseStart: "300", keyIdle: "0", keyConcurrency: "0", keyMaxConcurrent: "1000",
			"allow-container-concurrency-zero": "true", "enable-service-links": "false", "container-name-template": "user-container",
		},
		DeploymentName: {
			"progress-deadline": "600s", "digest-resolution-timeout": "10s", "queue-sidecar-cpu-request": "25m",
			"registries-skipping-tag-resolving": "kind.local,ko.local,dev.local", "runtime-class-name": "",
			"default-affinity-type": "prefer-spread-revision-over-nodes", "pod-is-always-schedulable": "false",
			"queue-sidecar-token-audiences": "", "queue-sidecar-rootca": "",
		},
		FeaturesName: {"multi-container": "enabled", "kubernetes.podspec-volumes-emptydir": "enabled", "secure-pod-defaults": "disabled"},
		RetentionName: {"retain-since-create-time": "48h", "retain-since-last-active-time": "15h", "min-non-active-revisions": "20",
			"max-non-active-revisions": "1000"},
	} {
		got, notes, err := Default().With(name, data)
		if err != nil || len(notes.Unknown)+len(notes.Ignored) > 0 {
			t.Errorf("%s: %v, notes %v", name, err, notes)
		}
		check(t, name, got)
	}
}
