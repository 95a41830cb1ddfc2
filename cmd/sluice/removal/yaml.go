package removal

import (
	"bytes"
	"fmt"

	"sigs.k8s.io/yaml"
)

// YAML returns items as documents for `kubectl delete -f -`, with a comment that counts the objects of users among them.
func YAML(items []Item) ([]byte, error) {
	users := 0
	var out bytes.Buffer
	for _, i := range items {
		if i.Kind == "Service" && i.APIVersion == servingGroup+"/v1" {
			users++
		}
	}
	fmt.Fprintf(&out, "# %d objects. Among them are %d Services of users, with all of their revisions.\n", len(items), users)
	for _, i := range items {
		metadata := map[string]string{"name": i.Name}
		if i.Namespace != "" {
			metadata["namespace"] = i.Namespace
		}
		text, err := yaml.Marshal(map[string]any{"apiVersion": i.APIVersion, "kind": i.Kind, "metadata": metadata})
		if err != nil {
			return nil, fmt.Errorf("writing %s %s: %w", i.Kind, i.Name, err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.Bytes(), nil
}
