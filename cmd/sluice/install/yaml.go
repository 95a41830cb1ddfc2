package install

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// YAML returns objects as documents of YAML, without what only the API server writes.
func YAML(objects []Object) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objects {
		content, err := content(o)
		if err != nil {
			return nil, err
		}
		text, err := yaml.Marshal(content)
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", o.GetName(), err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.Bytes(), nil
}

// content returns an object as it is applied.
func content(o Object) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", o.GetName(), err)
	}
	delete(m, "status")
	prune(m)
	return m, nil
}

// prune removes what typed objects have for fields that nobody set.
func prune(m map[string]any) {
	for key, value := range m {
		switch v := value.(type) {
		case nil:
			delete(m, key)
		case map[string]any:
			prune(v)
			if len(v) == 0 && (key == "resources" || key == "metadata" || key == "strategy" || key == "spec") {
				delete(m, key)
			}
		case []any:
			for _, element := range v {
				if inner, ok := element.(map[string]any); ok {
					prune(inner)
				}
			}
		}
	}
}
