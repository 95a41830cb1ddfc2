package chart

import (
	"bytes"

	"sluice.dev/sluice/cmd/sluice/install"
)

// notice begins every file.
const notice = "# Generated from cmd/sluice/install by make generate: do not edit.\n"

// File is a file of a folder.
type File struct {
	Name string // relative, with slashes
	Text []byte
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
