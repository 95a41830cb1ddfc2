package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

func xdsDumpCommand() *cobra.Command {
	var f inspectFlags
	var typeName string
	c := &cobra.Command{
		Use:   "dump CLIENT [NAME]",
		Short: "Print the resources that a client has acknowledged, as YAML",
		Long: `Dump prints what a client has acknowledged, as YAML below comments that say in which version and state each
resource is; of a refused one what the client has in its place. With -t only one type, with a name only the
resources of that name. Desired state of a role: sluice.dev/desired/gateway, and so on, as the client.`,
		Example: `  sluice xds dump gateway -t rds
  sluice xds dump gateway default/hello-00001
  sluice xds dump sluice.dev/desired/mesh -t lds`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if f.output != "yaml" && f.output != "json" {
				return fmt.Errorf("--output %q is neither yaml nor json", f.output)
			}
			keep, err := selection(typeName, args[1:])
			if err != nil {
				return err
			}
			i, err := f.dial()
			if err != nil {
				return err
			}
			defer i.close()
			id := args[0]
			if !strings.HasPrefix(id, csds.DesiredPrefix) {
				if id, err = i.find(c.Context(), id); err != nil {
					return err
				}
			}
			clients, err := i.ask(c.Context(), status.Query{IDs: []string{id}, Contents: true})
			if err != nil {
				return err
			}
			resources, err := dumped(id, clients, keep)
			if err != nil {
				return err
			}
			return printDump(c.OutOrStdout(), resources, f.output)
		},
	}
	f.add(c, "yaml", "yaml or json")
	c.Flags().StringVarP(&typeName, "type", "t", "", "one type: cds, eds, lds, rds, sds or srds")
	return c
}

// selection is which resources to keep.
func selection(typeName string, names []string) (func(*status.Resource) bool, error) {
	url := resource.TypeURL(typeName)
	if typeName != "" && url == "" {
		return nil, fmt.Errorf("--type %q is none of cds, eds, lds, rds, sds and srds", typeName)
	}
	return func(r *status.Resource) bool {
		return (url == "" || r.TypeURL == url) && (len(names) == 0 || slices.Contains(names, r.Name))
	}, nil
}

// dumped is the resources of all streams of a client.
func dumped(id string, clients []status.Client, keep func(*status.Resource) bool) ([]status.Resource, error) {
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
	slices.SortStableFunc(all, func(a, b status.Resource) int {
		return byType(resource.TypeName(a.TypeURL), resource.TypeName(b.TypeURL))
	})
	return all, nil
}

var headings = map[string]string{"lds": "listeners", "rds": "routes", "srds": "scoped_routes", "cds": "clusters", "eds": "endpoints", "sds": "secrets"}

func printDump(to io.Writer, resources []status.Resource, output string) error {
	if output == "json" {
		return printDumpJSON(to, resources)
	}
	last := ""
	for _, r := range resources {
		if r.TypeURL != last {
			heading := headings[resource.TypeName(r.TypeURL)]
			if heading == "" {
				heading = r.TypeURL
			}
			fmt.Fprintf(to, "%s:\n", heading)
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
	if r.Refusal != nil {
		text += fmt.Sprintf("%s: %s", ofVersion(r.Refusal.Version), strings.Join(strings.Fields(r.Refusal.Text), " "))
	}
	return text
}

// contentYAML is empty where there is none.
func contentYAML(content *anypb.Any) (string, error) {
	if content == nil {
		return "", nil
	}
	text, err := (&translator.Resource{Type: content.GetTypeUrl(), Body: content.GetValue()}).YAML()
	return string(text), err
}

func printDumpJSON(to io.Writer, resources []status.Resource) error {
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
	return printJSON(to, all)
}
