package chart

import (
	"fmt"

	"sluice.dev/sluice/cmd/sluice/install"
)

const chartYAML = `apiVersion: v2
name: sluice
description: Request-driven services behind Envoy, with Knative's API
type: application
version: 0.1.0
appVersion: dev
kubeVersion: ">=` + install.OldestKubernetes + `.0-0"
`

// valuesYAML is values.yaml: the options of `sluice install`, and what only a chart has.
func valuesYAML(o install.Options) string {
	return fmt.Sprintf(`# Namespace of Sluice; there is one installation in a cluster.
namespace: %s
# Whether the release has the namespace. Without, it must exist, and should have the label pod-security.kubernetes.io/enforce: restricted.
createNamespace: true
# Whether the kinds, and with them all services, stay when the release is uninstalled.
keepCRDs: true

# Gateways to run: envoy, builtin, or none for Envoys of your own.
gateway: %s
replicas:
  controller: %d
  activator: %d
  gateway: %d

images:
  # For controllers.
  sluice: %s
  # For activators and gateways.
  dataPlane: %s
  # The queue-proxy runs beside each replica of a service.
  queueProxy: %s
  # The PATH of Envoy's image must have envoy.
  envoy: %s
  # Always, IfNotPresent or Never.
  pullPolicy: %s

# Domain of the services' URLs: NAME.NAMESPACE.DOMAIN.
domain: %s
# Type of the gateway's Service: LoadBalancer, NodePort or ClusterIP.
serviceType: %s
# Name of a Secret in the namespace, of type kubernetes.io/tls, with the certificate that gateways present.
tlsSecret: %q
# Whether controllers may read the Secrets of all namespaces: image pull secrets, and certificates of domain mappings.
userSecrets: %t
# Whether the API server writes who created an object and who last changed it into annotations, as Knative does. It needs Kubernetes 1.36.
recordUsers: %t
# Form of the routes to gateways: scoped or inline.
routes: %s
# Whether to add PodMonitors and alerts for the Prometheus operator, which must be installed, and a dashboard of Grafana.
monitoring: %t
`, o.Namespace, o.Gateway, o.ControllerReplicas, o.ActivatorReplicas, o.GatewayReplicas,
		o.Image, o.DataPlaneImage, o.QueueProxyImage, o.EnvoyImage, o.PullPolicy, o.Domain, o.ServiceType, o.TLSSecret,
		o.UserSecrets, o.RecordUsers, o.Routes, o.Monitoring)
}

// schema is values.schema.json, by which Helm refuses wrong values as install.Options.Check does.
const schema = `{
  "$schema": "http://json-schema.org/draft-07/schema#",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "global": {},
    "namespace": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
    "createNamespace": {"type": "boolean"},
    "keepCRDs": {"type": "boolean"},
    "gateway": {"enum": ["envoy", "builtin", "none"]},
    "replicas": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "controller": {"type": "integer", "minimum": 1},
        "activator": {"type": "integer", "minimum": 1},
        "gateway": {"type": "integer", "minimum": 1}
      }
    },
    "images": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "sluice": {"type": "string", "pattern": "^\\S+$"},
        "dataPlane": {"type": "string", "pattern": "^\\S+$"},
        "queueProxy": {"type": "string", "pattern": "^\\S+$"},
        "envoy": {"type": "string", "pattern": "^\\S+$"},
        "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]}
      }
    },
    "domain": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"},
    "serviceType": {"enum": ["LoadBalancer", "NodePort", "ClusterIP"]},
    "tlsSecret": {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"},
    "userSecrets": {"type": "boolean"},
    "recordUsers": {"type": "boolean"},
    "routes": {"enum": ["scoped", "inline"]},
    "monitoring": {"type": "boolean"}
  }
}
`
