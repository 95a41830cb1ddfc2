package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

// Select returns a filter of resources by the short name of a type and by names; empty means all.
func Select(typeName string, names []string) (func(*status.Resource) bool, error) {
	url := resource.TypeURL(typeName)
	if typeName != "" && url == "" {
		return nil, fmt.Errorf("--type %q is none of cds, eds, lds, rds, sds and srds", typeName)
	}
	return func(r *status.Resource) bool {
		return (url == "" || r.TypeURL == url) && (len(names) == 0 || slices.Contains(names, r.Name))
	}, nil
}

// Dump returns the resources with contents of all streams of a client, as far as keep says so, sorted by type.
func (s *Server) Dump(ctx context.Context, id string, keep func(*status.Resource) bool) ([]status.Resource, error) {
	clients, err := s.Ask(ctx, status.Query{IDs: []string{id}, Contents: true})
	if err != nil {
		return nil, err
	}
	if len(clients) == 0 {
		return nil, fmt.Errorf("client %q is not connected", id)
	}
	var all []status.Resource
	for _, c := range clients {
		if c.Unknown {
			return nil, fmt.Errorf("client %q does not read what it is sent: what it has is not known", id)
		}
		for i := range c.Resources {
			if keep(&c.Resources[i]) {
				all = append(all, c.Resources[i])
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("client %q has no such resource: `sluice xds status %s` lists what it has", id, id)
	}
	sortByType(all)
	return all, nil
}

var headings = map[string]string{
	"lds": "listeners", "rds": "routes", "srds": "scoped_routes", "cds": "clusters", "eds": "endpoints", "sds": "secrets",
}

// WriteDump prints resources as YAML below comments with their version and state.
func WriteDump(to io.Writer, resources []status.Resource) error {
	last := ""
	for _, r := range resources {
		if r.TypeURL != last {
			fmt.Fprintf(to, "%s:\n", cmp.Or(headings[resource.TypeName(r.TypeURL)], r.TypeURL))
			last = r.TypeURL
		}
		fmt.Fprintf(to, "# %s\n", describe(&r))
		text, err := contentYAML(r.Content)
		if err != nil {
			return fmt.Errorf("writing %s %q as YAML: %w", r.TypeURL, r.Name, err)
		}
		if text != "" {
			fmt.Fprintf(to, "- %s\n", strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  "))
		}
	}
	return nil
}

// describe is a resource in one line.
func describe(r *status.Resource) string {
	text := fmt.Sprintf("%s: %s", r.Name, r.State)
	if r.Version != "" {
		text = fmt.Sprintf("%s: version %s, %s", r.Name, r.Version, r.State)
	}
	if r.Rejection != nil {
		text += fmt.Sprintf("%s: %s", ofVersion(r.Rejection.Version), strings.Join(strings.Fields(r.Rejection.Text), " "))
	}
	return text
}

// contentYAML is the content as YAML, empty where there is none.
func contentYAML(content *anypb.Any) (string, error) {
	if content == nil {
		return "", nil
	}
	text, err := (&translator.Resource{Type: content.GetTypeUrl(), Body: content.GetValue()}).YAML()
	return string(text), err
}

// WriteDumpJSON prints resources as a JSON array.
func WriteDumpJSON(to io.Writer, resources []status.Resource) error {
	type dump struct {
		status.Resource
		Content json.RawMessage `json:"content,omitempty"`
	}
	all := make([]dump, len(resources))
	for i, r := range resources {
		all[i].Resource = r
		text, err := contentYAML(r.Content)
		if err != nil {
			return fmt.Errorf("writing %s %q as JSON: %w", r.TypeURL, r.Name, err)
		}
		if text == "" {
			continue
		}
		if all[i].Content, err = yaml.YAMLToJSON([]byte(text)); err != nil {
			return err
		}
	}
	return WriteJSON(to, all)
}
