// Command generate writes the kustomize base, the Helm chart and the files for monitoring of package chart. `make generate` runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/install/chart"
)

func main() {
	to := flag.String("to", "deploy", "folder that gets kustomize and helm/sluice")
	flag.Parse()
	if err := generate(*to); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(to string) error {
	for folder, make := range map[string]func(install.Options) ([]chart.File, error){
		"kustomize": chart.Kustomize, "helm/sluice": chart.Helm, "monitoring": chart.MonitoringFiles,
	} {
		files, err := make(install.Defaults())
		if err != nil {
			return fmt.Errorf("making %s: %w", folder, err)
		}
		folder := filepath.Join(to, filepath.FromSlash(folder))
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("removing what was there: %w", err)
		}
		for _, f := range files {
			path := filepath.Join(folder, filepath.FromSlash(f.Name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return fmt.Errorf("making a folder: %w", err)
			}
			if err := os.WriteFile(path, f.Text, 0o644); err != nil {
				return fmt.Errorf("writing a file: %w", err)
			}
		}
	}
	return nil
}
