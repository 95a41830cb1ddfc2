package translator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// groups are the headings of YAML, in the order in which a request meets the resources.
var groups = []struct{ typeURL, heading string }{
	{ListenerType, "listeners"}, {RouteType, "routes"}, {ScopedRouteType, "scoped_routes"}, {ClusterType, "clusters"},
	{AssignmentType, "endpoints"},
	{SecretType, "secrets"}, {ExtensionType, "extensions"},
}

// YAML returns the resources for people: grouped by type, sorted by name, each with a comment that names its roles. It leaves out private
// keys.
func (o *Output) YAML() ([]byte, error) {
	var out bytes.Buffer
	for _, g := range groups {
		var resources []*Resource
		for _, u := range o.Units {
			for _, r := range u.Resources {
				if r.Type == g.typeURL {
					resources = append(resources, r)
				}
			}
		}
		slices.SortStableFunc(resources, func(a, b *Resource) int { return strings.Compare(a.Name, b.Name) })
		if len(resources) > 0 {
			fmt.Fprintf(&out, "%s:\n", g.heading)
		}
		for _, r := range resources {
			text, err := r.YAML()
			if err != nil {
				return nil, fmt.Errorf("writing %s %q as YAML: %w", g.heading, r.Name, err)
			}
			fmt.Fprintf(&out, "# for %s\n- %s\n", rolesText(r.Roles),
				strings.ReplaceAll(strings.TrimSuffix(string(text), "\n"), "\n", "\n  "))
		}
	}
	return out.Bytes(), nil
}

// YAML returns the resource for people, without private keys. The program must link the types of all messages in it.
func (r *Resource) YAML() ([]byte, error) {
	m, err := (&anypb.Any{TypeUrl: r.Type, Value: r.Body}).UnmarshalNew()
	if err != nil {
		return nil, err
	}
	// Envoy's documentation writes field names as the protos do.
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	redact(tree)
	return yaml.Marshal(tree)
}

// redact replaces the contents of private keys, wherever they are.
func redact(tree any) {
	switch tree := tree.(type) {
	case map[string]any:
		for name, value := range tree {
			if name == "private_key" {
				tree[name] = map[string]any{"inline_string": "(not shown)"}
				continue
			}
			redact(value)
		}
	case []any:
		for _, value := range tree {
			redact(value)
		}
	}
}

func rolesText(roles uint8) string {
	var names []string
	for i, name := range []string{"the gateway", "activators", "gRPC clients"} {
		if roles&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}
