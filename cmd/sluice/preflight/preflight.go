// Package preflight finds what a cluster lacks for an installation of Sluice, before anything is installed. It changes nothing: what it
// tries, it tries as a dry run. It must not know what the objects of an installation are for.
package preflight

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/cmd/sluice/install"
)

// Level says what a finding means for an installation.
type Level string

// Levels of findings.
const (
	OK    Level = "ok"
	Note  Level = "note"  // it may matter, and nobody but the user can tell
	Lacks Level = "lacks" // the installation would fail, or not work
)

// Finding is one thing that was looked at.
type Finding struct {
	Level  Level
	What   string // a sentence
	Remedy string // what to do about it; empty for OK
}

// String is one line, and one more with the remedy.
func (f Finding) String() string {
	s := fmt.Sprintf("%-6s %s", f.Level, f.What)
	if f.Remedy != "" {
		s += "\n       → " + f.Remedy
	}
	return s
}

// Worst returns the worst level of findings.
func Worst(findings []Finding) Level {
	worst := OK
	for _, f := range findings {
		if f.Level == Lacks || worst == OK {
			worst = f.Level
		}
	}
	return worst
}

// checker has what the checks need.
type checker struct {
	options install.Options
	objects []install.Object
	host    string
	client  kubernetes.Interface
	dynamic dynamic.Interface
	found   []Finding
}

func (c *checker) add(level Level, remedy, what string, args ...any) {
	c.found = append(c.found, Finding{level, fmt.Sprintf(what, args...), remedy})
}

// Check looks at a cluster. It returns an error when the cluster does not answer, and then nothing else is known.
func Check(ctx context.Context, config *rest.Config, o install.Options) ([]Finding, error) {
	objects, err := install.Objects(o)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = rest.NoWarnings{} // of dry runs
	c := &checker{options: o, objects: objects, host: config.Host}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	if err := c.version(); err != nil {
		return nil, err
	}
	for _, check := range []func(context.Context) error{
		c.owners, c.permissions, c.dryRun, c.podSecurity, c.nodes, c.loadBalancer, c.certificate, c.usage,
	} {
		if err := check(ctx); err != nil {
			return c.found, err
		}
	}
	return c.found, nil
}

// version checks that the API server answers and is not too old.
func (c *checker) version() error {
	version, err := c.client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("the API server at %s does not answer: %w", c.host, err)
	}
	if older(version.Major, version.Minor, install.OldestKubernetes) {
		c.add(Lacks, "Update it to "+install.OldestKubernetes+" or newer.", "Kubernetes at %s is %s: that is too old.",
			c.host, version.GitVersion)
		return nil
	}
	c.add(OK, "", "Kubernetes %s answers at %s.", version.GitVersion, c.host)
	return nil
}

// older compares a version with one such as 1.30. Some providers add a sign to the minor version.
func older(major, minor, than string) bool {
	var have, want [2]int
	_, _ = fmt.Sscanf(major+"."+strings.TrimRight(minor, "+"), "%d.%d", &have[0], &have[1]) // what cannot be read is 0: too old
	_, _ = fmt.Sscanf(than, "%d.%d", &want[0], &want[1])
	return have[0] < want[0] || have[0] == want[0] && have[1] < want[1]
}

// loadBalancer says whether a Service of type LoadBalancer is known to get an address.
func (c *checker) loadBalancer(ctx context.Context) error {
	if c.options.Gateway == install.None || c.options.ServiceType != string(corev1.ServiceTypeLoadBalancer) {
		return nil
	}
	const remedy = "If nothing gives addresses to such Services here, use --service-type NodePort, or ClusterIP behind your own ingress."
	services, err := list(ctx, c.client.CoreV1().Services(corev1.NamespaceAll).List)
	if err != nil {
		c.add(Note, remedy, "Whether Services of type LoadBalancer get addresses is not known: %v.", err)
		return nil
	}
	waiting := ""
	for _, s := range services.Items {
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		if len(s.Status.LoadBalancer.Ingress) > 0 {
			c.add(OK, "", "Services of type LoadBalancer get addresses, such as %s/%s.", s.Namespace, s.Name)
			return nil
		}
		waiting = s.Namespace + "/" + s.Name
	}
	if waiting != "" {
		c.add(Note, remedy, "Service %s of type LoadBalancer waits for an address, and none has one.", waiting)
		return nil
	}
	c.add(Note, remedy, "No Service of type LoadBalancer is there, so whether they get addresses is not known.")
	return nil
}
