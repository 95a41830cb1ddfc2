package chart

import (
	"bytes"
	"fmt"

	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/cmd/sluice/install"
)

// notice begins every file.
const notice = "# Generated from cmd/sluice/install by make generate: do not edit.\n"

// File is a file of a folder.
type File struct {
	Name string // relative, with slashes
	Text []byte
}

// MonitoringFiles returns what Prometheus and Grafana read: as files of their own, and as a component of kustomize beside the base.
func MonitoringFiles(o install.Options) ([]File, error) {
	objects, err := install.MonitoringObjects(o)
	if err != nil {
		return nil, err
	}
	text, err := install.YAML(objects)
	if err != nil {
		return nil, err
	}
	dashboard, err := install.Dashboard()
	if err != nil {
		return nil, err
	}
	alerts, err := yaml.Marshal(install.AlertRules())
	if err != nil {
		return nil, fmt.Errorf("writing the alerts: %w", err)
	}
	return []File{
		{"dashboard.json", dashboard}, {"alerts.yaml", append([]byte(notice), alerts...)},
		{"monitoring.yaml", append([]byte(notice), text...)},
		{"kustomization.yaml", []byte(notice +
			"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources:\n- monitoring.yaml\n")},
	}, nil
}

// Kustomize returns a kustomize base with the installation that has these options.
func Kustomize(o install.Options) ([]File, error) {
	parts, err := install.Parts(o)
	if err != nil {
		return nil, err
	}
	var files []File
	list := bytes.NewBufferString(notice + "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" +
		"# One kubectl apply takes the objects in this order.\nsortOptions:\n  order: fifo\nresources:\n")
	for _, p := range parts {
		text, err := install.YAML(p.Objects)
		if err != nil {
			return nil, err
		}
		files = append(files, File{p.Name + ".yaml", append([]byte(notice), text...)})
		list.WriteString("- " + p.Name + ".yaml\n")
	}
	return append(files, File{"kustomization.yaml", list.Bytes()}), nil
}
