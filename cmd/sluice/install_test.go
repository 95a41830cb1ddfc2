package main

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"sluice.dev/sluice/cmd/sluice/install"
)

// TestTheManifestStartsCommandsThatExist gives the arguments of each container to the command that it starts.
func TestTheManifestStartsCommandsThatExist(t *testing.T) {
	for _, gateway := range []string{install.Envoy, install.Builtin, install.None} {
		o := install.Defaults()
		o.Gateway, o.TLSSecret = gateway, "wildcard"
		objects, err := install.Objects(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			d, ok := object.(*appsv1.Deployment)
			if !ok {
				continue
			}
			pod := d.Spec.Template.Spec
			for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
				command, arguments, err := root().Find(c.Args)
				if err == nil {
					err = command.ParseFlags(arguments)
				}
				if err == nil {
					err = command.ValidateArgs(command.Flags().Args())
				}
				if err != nil {
					t.Errorf("with --gateway %s, %s of Deployment %s cannot start sluice %q: %v", gateway, c.Name, d.Name, c.Args, err)
				}
			}
		}
	}
}

func TestInstallRefusesWrongFlags(t *testing.T) {
	c := root()
	c.SetArgs([]string{"install", "--gateway", "nginx"})
	if err := c.ExecuteContext(t.Context()); err == nil || err.Error() != `--gateway is "nginx": want one of envoy, builtin, none` {
		t.Errorf("the error is %v", err)
	}
}
