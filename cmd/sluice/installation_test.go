package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/transport"
)

func TestWhichServerIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		args       []string
		dataDir    bool // there is one in the working folder
		kubectlHas bool // a file of kubectl
		want       bool // the cluster is asked
	}{
		"nothing is there":                        {},
		"kubectl's cluster":                       {kubectlHas: true, want: true},
		"a sluice up comes first":                 {kubectlHas: true, dataDir: true},
		"a context is of a cluster":               {args: []string{"--context", "a"}, dataDir: true, want: true},
		"a namespace is of a cluster":             {args: []string{"--namespace", "sluice-system"}, dataDir: true, want: true},
		"a kubeconfig is of a cluster":            {args: []string{"--kubeconfig", "other"}, dataDir: true, want: true},
		"the kubeconfig of the sluice up":         {args: []string{"--kubeconfig", ".sluice/kubeconfig"}, dataDir: true},
		"a data directory is named":               {args: []string{"--data-dir", "elsewhere"}, kubectlHas: true},
		"the xDS server is named":                 {args: []string{"--xds", "127.0.0.1:1"}, kubectlHas: true},
		"the xDS server is named, with a context": {args: []string{"--xds", "127.0.0.1:1", "--context", "a"}, kubectlHas: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("HOME", t.TempDir())
			t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
			if c.kubectlHas {
				writeFile(t, os.Getenv("KUBECONFIG"))
			}
			if c.dataDir {
				writeFile(t, filepath.Join(transport.DefaultDataDir, "kubeconfig"))
			}
			writeFile(t, "other")
			var f inspectFlags
			command := &cobra.Command{}
			f.add(command, "namespace", "table", "table")
			if err := command.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			if got := f.installation.inCluster(&f.server); got != c.want {
				t.Errorf("the cluster is asked: %t, want %t", got, c.want)
			}
		})
	}
}

func writeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
