package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/remote"
	"sluice.dev/sluice/cmd/sluice/transport"
)

// installationFlags say which installation in a cluster a command asks, where it asks one rather than a `sluice up` of this machine.
type installationFlags struct {
	clusterFlags
	namespace string

	flag string // the name of the flag for namespace
	cmd  *cobra.Command
}

func (f *installationFlags) add(c *cobra.Command, namespace string) {
	f.cmd, f.flag = c, namespace
	f.clusterFlags.add(c)
	c.Flags().StringVar(&f.namespace, namespace, install.Defaults().Namespace, "namespace of Sluice in the cluster")
}

// inCluster reports whether the command asks an installation in a cluster: the flags say so, or there is no data directory of a sluice
// up and kubectl would find a cluster.
func (f *installationFlags) inCluster(server *transport.DialOptions) bool {
	switch own := filepath.Join(server.DataDir, "kubeconfig"); {
	case server.Address != "" || server.CA != "":
		return false
	case f.context != "" || f.cmd.Flags().Changed(f.flag):
		return true
	case f.kubeconfig != "":
		return !sameFile(f.kubeconfig, own)
	case f.cmd.Flags().Changed("data-dir"):
		return false
	}
	if _, err := os.Stat(server.DataDir); err == nil {
		return false
	}
	for _, path := range clientcmd.NewDefaultClientConfigLoadingRules().GetLoadingPrecedence() {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

func sameFile(a, b string) bool {
	is, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(is, other)
}

// reach has the options lead to the xDS server of an installation if the command asks one. The function that it returns ends that.
func (f *installationFlags) reach(ctx context.Context, server *transport.DialOptions) (func(), error) {
	if !f.inCluster(server) {
		return func() {}, nil
	}
	config, err := f.config()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w; name a file with --kubeconfig, or the data directory of a sluice up with "+
			"--data-dir", err)
	}
	way, end, err := remote.Installation{Config: config, Namespace: f.namespace}.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w (--%s names another namespace of Sluice, --data-dir the data directory of a sluice up)", err, f.flag)
	}
	server.Use(way)
	return end, nil
}
