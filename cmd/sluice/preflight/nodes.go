package preflight

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/cmd/sluice/install"
)

// list calls a List function.
func list[T any](ctx context.Context, call func(context.Context, metav1.ListOptions) (T, error)) (T, error) {
	return call(ctx, metav1.ListOptions{})
}

// podSecurity says what the namespace allows pods when it is there. Its own level, which the installation sets, is restricted.
func (c *checker) podSecurity(ctx context.Context) error {
	const enforce = "pod-security.kubernetes.io/enforce"
	namespace, err := c.client.CoreV1().Namespaces().Get(ctx, c.options.Namespace, metav1.GetOptions{})
	level := ""
	if err == nil {
		level = namespace.Labels[enforce]
	}
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		c.add(Note, "Ask for the permission to read namespaces.", "The Pod Security level of namespace %s is not known: %v.",
			c.options.Namespace, err)
	case level == "" || level == "restricted":
		c.add(OK, "", "All pods of Sluice meet the Pod Security level restricted, which their namespace gets.")
	default:
		c.add(Note, "Applying the installation makes it restricted. Pods of others in the namespace may not meet that.",
			"Namespace %s has the Pod Security level %s.", c.options.Namespace, level)
	}
	return nil
}

// nodes checks that pods can run, and that nodes have the images that they do not pull.
func (c *checker) nodes(ctx context.Context) error {
	nodes, err := list(ctx, c.client.CoreV1().Nodes().List)
	if err != nil {
		c.add(Note, "Ask for the permission to read nodes.", "Whether nodes have the images is not known: %v.", err)
		return nil
	}
	ready := slices.DeleteFunc(nodes.Items, func(n corev1.Node) bool { return n.Spec.Unschedulable || !isReady(n) })
	if len(ready) == 0 {
		c.add(Lacks, "Add a node, or see why kubectl get nodes shows none as Ready.", "No node is ready for pods.")
		return nil
	}
	c.add(OK, "", "%d nodes are ready for pods.", len(ready))
	for _, image := range c.images() {
		c.image(image, ready)
	}
	return nil
}

// images are those of the installation.
func (c *checker) images() []string {
	images := []string{c.options.Image, c.options.DataPlaneImage, c.options.QueueProxyImage}
	if c.options.Gateway == install.Envoy {
		images = append(images, c.options.EnvoyImage)
	}
	return images
}

// mostImages is how many images a kubelet lists by default: the largest ones of its node.
const mostImages = 50

// image says which nodes lack an image.
func (c *checker) image(image string, nodes []corev1.Node) {
	var without []string
	unknown := false
	for _, n := range nodes {
		if !slices.ContainsFunc(n.Status.Images, func(i corev1.ContainerImage) bool { return slices.ContainsFunc(i.Names, same(image)) }) {
			without = append(without, n.Name)
			unknown = unknown || len(n.Status.Images) >= mostImages
		}
	}
	first := strings.Join(without[:min(3, len(without))], ", ")
	switch {
	case len(without) == 0:
		c.add(OK, "", "All nodes have the image %s.", image)
	case unknown && (c.options.PullPolicy == string(corev1.PullNever) || strings.HasPrefix(image, "sluice.local/")):
		c.add(Note, "See on the nodes: they list only their largest images.", "%d nodes, such as %s, do not list the image %s.",
			len(without), first, image)
	case c.options.PullPolicy == string(corev1.PullNever):
		c.add(Lacks, "Load the image into these nodes, or let kubelets pull it with --image-pull-policy IfNotPresent.",
			"%d nodes, such as %s, do not list the image %s, and --image-pull-policy is Never.", len(without), first, image)
	case strings.HasPrefix(image, "sluice.local/"):
		c.add(Lacks, "No registry has this image. make images builds it: push it to a registry that the nodes reach, and name it with a "+
			"flag of sluice install, or load it into the nodes.",
			"%d nodes, such as %s, do not list the image %s.", len(without), first, image)
	default:
		c.add(Note, "The nodes must be able to pull it; a private registry needs imagePullSecrets in the ServiceAccounts of the namespace.",
			"%d nodes, such as %s, do not list the image %s yet.", len(without), first, image)
	}
}

// same compares names of images; those of nodes are complete.
func same(image string) func(string) bool {
	return func(name string) bool {
		return name == image || name == "docker.io/"+image || name == "docker.io/library/"+image
	}
}

func isReady(n corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// certificate checks the Secret that the gateways' certificate is to come from.
func (c *checker) certificate(ctx context.Context) error {
	if c.options.TLSSecret == "" {
		return nil
	}
	secret, err := c.client.CoreV1().Secrets(c.options.Namespace).Get(ctx, c.options.TLSSecret, metav1.GetOptions{})
	switch name := c.options.Namespace + "/" + c.options.TLSSecret; {
	case apierrors.IsNotFound(err):
		c.add(Note, "Make it, of type kubernetes.io/tls. Gateways serve no TLS until then.", "Secret %s is not there yet.", name)
	case err != nil:
		c.add(Note, "Ask for the permission to read it.", "Whether Secret %s has a certificate is not known: %v.", name, err)
	case len(secret.Data[corev1.TLSCertKey]) == 0 || len(secret.Data[corev1.TLSPrivateKeyKey]) == 0:
		c.add(Lacks, "It must have the keys tls.crt and tls.key, as kubectl create secret tls makes them.",
			"Secret %s has no certificate.", name)
	default:
		c.add(OK, "", "Secret %s has a certificate.", name)
	}
	return nil
}
