package knative

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

const (
	progressDeadline   = "60s" // a revision that cannot start must fail before the suites' patience ends
	deploymentConfig   = "config-deployment"
	deadlineKey        = "progress-deadline"
	servingAPI         = "serving.knative.dev/v1"
	servingModule      = "knative.dev/serving"
	fieldManager       = "sluice-conformance"
	testResourceFolder = "test/config"
)

// cluster is a cluster with Sluice in it, and where its parts are.
type cluster struct {
	config           *rest.Config
	client           *kubernetes.Clientset
	system           string // namespace of Sluice
	gateway          string // name of the gateway's Service
	gatewayNamespace string
	node             string // address that node ports answer on
	arch             string // of the nodes, in Go's words
}

// errAbsent says that something which the tests need is not there; its message says what.
type errAbsent string

func (e errAbsent) Error() string { return string(e) }

// findCluster looks for Sluice in the cluster of config. It returns an errAbsent if it is not there.
func findCluster(ctx context.Context, config *rest.Config) (*cluster, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &cluster{config: config, client: client}
	c.system = cmp.Or(os.Getenv("SYSTEM_NAMESPACE"), "sluice-system")
	c.gateway = cmp.Or(os.Getenv("GATEWAY_OVERRIDE"), "gateway")
	c.gatewayNamespace = cmp.Or(os.Getenv("GATEWAY_NAMESPACE_OVERRIDE"), c.system)
	if _, err := client.Discovery().ServerResourcesForGroupVersion(servingAPI); err != nil {
		return nil, errAbsent(fmt.Sprintf("the cluster has no API %s: %v", servingAPI, err))
	}
	service, err := client.CoreV1().Services(c.gatewayNamespace).Get(ctx, c.gateway, metav1.GetOptions{})
	if err != nil {
		return nil, errAbsent(fmt.Sprintf("the cluster has no gateway: %v", err))
	}
	if len(service.Spec.Ports) == 0 || service.Spec.Ports[0].NodePort == 0 {
		return nil, errAbsent(fmt.Sprintf("Service %s/%s has no node port for the suites' requests", c.gatewayNamespace, c.gateway))
	}
	return c, c.findNode(ctx)
}

func (c *cluster) findNode(ctx context.Context) error {
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	if len(nodes.Items) == 0 {
		return errAbsent("the cluster has no node")
	}
	status := nodes.Items[0].Status
	c.arch = status.NodeInfo.Architecture
	c.node = os.Getenv("INGRESS_ENDPOINT")
	for _, address := range status.Addresses {
		if c.node == "" && address.Type == corev1.NodeInternalIP {
			c.node = address.Address
		}
	}
	if c.node == "" {
		return errAbsent("the first node has no internal address: name one in INGRESS_ENDPOINT")
	}
	return nil
}

// variables tell the suites where the parts are.
func (c *cluster) variables() []string {
	return []string{"SYSTEM_NAMESPACE=" + c.system, "GATEWAY_OVERRIDE=" + c.gateway, "GATEWAY_NAMESPACE_OVERRIDE=" + c.gatewayNamespace}
}

// limitProgress sets the progress deadline of revisions. undo puts back what was there.
func (c *cluster) limitProgress(ctx context.Context) (undo func(context.Context) error, err error) {
	maps := c.client.CoreV1().ConfigMaps(c.system)
	before, err := maps.Get(ctx, deploymentConfig, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		created := &corev1.ConfigMap{Data: map[string]string{deadlineKey: progressDeadline}}
		created.Name = deploymentConfig
		if _, err := maps.Create(ctx, created, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return maps.Delete(ctx, deploymentConfig, metav1.DeleteOptions{}) }, nil
	}
	if err != nil {
		return nil, err
	}
	set := func(ctx context.Context, value any) error { // null removes the key
		patch, err := json.Marshal(map[string]any{"data": map[string]any{deadlineKey: value}})
		if err != nil {
			return err
		}
		_, err = maps.Patch(ctx, deploymentConfig, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	undo = func(ctx context.Context) error {
		if value, ok := before.Data[deadlineKey]; ok {
			return set(ctx, value)
		}
		return set(ctx, nil)
	}
	return undo, set(ctx, progressDeadline)
}

// applyTestResources applies what Knative's scripts apply before the suites: namespaces, a ConfigMap and a Secret. It waits for the
// service account of each namespace, without which no pod is admitted.
func (c *cluster) applyTestResources(ctx context.Context) error {
	dirs, err := goList(ctx, "-m", "-f", "{{.Dir}}", servingModule)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dirs[0], testResourceFolder, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files { // in the order of the alphabet, namespaces are first
		if err := c.applyFile(ctx, file); err != nil {
			return fmt.Errorf("apply %s: %w", file, err)
		}
	}
	return nil
}

func (c *cluster) applyFile(ctx context.Context, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(c.client.Discovery())
	if err != nil {
		return err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue // a document of comments
		}
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		_, err = client.Resource(mapping.Resource).Namespace(object.GetNamespace()).
			Apply(ctx, object.GetName(), &object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
		}
	}
}
