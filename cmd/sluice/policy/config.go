package policy

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/config"
)

// maxConfig bounds a configuration file, in bytes: a ConfigMap holds no more.
const maxConfig = 1 << 20

// ReadConfig reads a YAML file with the keys of Knative's config-autoscaler: a ConfigMap, or the keys alone. Keys that are not in it have
// Knative's defaults; so have all when path is empty. Errors name the file and the key. Unknown are the keys that nothing reads, sorted:
// Knative ignores them, but they may be typing errors.
func ReadConfig(path string) (c autoscaler.Config, unknown []string, err error) {
	settings := config.Default()
	if path == "" {
		return settings.Autoscaler, nil, nil
	}
	data, err := readConfigData(path)
	var notes config.Notes
	if err == nil {
		settings, notes, err = settings.With(config.AutoscalerName, data)
	}
	if err != nil {
		return autoscaler.Config{}, nil, fmt.Errorf("reading the autoscaler's configuration (--config) %s: %w", path, err)
	}
	return settings.Autoscaler, notes.Unknown, nil
}

func readConfigData(path string) (map[string]string, error) {
	f, err := manifest.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("it has over %d bytes", maxConfig)
	}
	var fields map[string]any
	if err := yaml.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("this is not YAML with keys and values: %w", err)
	}
	return configData(fields)
}

// configData finds the keys: in the data of a ConfigMap, where the API server wants strings, or at the top, where numbers and booleans
// need no quotes.
func configData(fields map[string]any) (map[string]string, error) {
	kind, isObject := fields["kind"]
	if isObject {
		if kind != "ConfigMap" {
			return nil, fmt.Errorf("its kind is %v, want a ConfigMap, or the keys alone", kind)
		}
		inner, ok := fields["data"].(map[string]any)
		if !ok && fields["data"] != nil {
			return nil, errors.New("data is no map of keys and values")
		}
		fields = inner
	}
	data := make(map[string]string, len(fields))
	for key, value := range fields {
		text, isString := value.(string)
		switch v := value.(type) {
		case string:
		case float64:
			text = strconv.FormatFloat(v, 'f', -1, 64)
		case bool:
			text = strconv.FormatBool(v)
		default:
			return nil, fmt.Errorf("%q is no string, such as \"60s\"", key)
		}
		if isObject && !isString {
			return nil, fmt.Errorf("%q is %s, and a ConfigMap holds strings: write %q", key, text, text)
		}
		data[key] = text
	}
	return data, nil
}
