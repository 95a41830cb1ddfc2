package install

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Seconds that pods have to end in order. Processes bound the drain of requests by 30 s.
const (
	controllerGrace = 30
	drainGrace      = 60
	// endpointsLag is how long a gateway that is to end goes on as before: until kube-proxy and load balancers have learned that its pod
	// is not an endpoint any more. New connections would be refused otherwise.
	endpointsLag = 5
)

// gatewayMemory is how many bytes Envoy may allocate. The limit of its container is above that, so that Envoy refuses requests before the
// kernel kills it.
const (
	gatewayMemory      = 1 << 30
	gatewayMemoryLimit = "1536Mi"
)

// Folders in containers.
const (
	runDir = "/run/sluice"     // files of this pod alone
	xdsDir = "/etc/sluice/xds" // certificate of a client of the xDS server
	binDir = "/opt/sluice"     // the sluice binary, in Envoy's container
)

func (o Options) controller() []Object {
	c := o.container(controller, o.Image, "controller",
		fmt.Sprintf("--xds=:%d", xdsPort), fmt.Sprintf("--admin=:%d", adminPort), "--dir="+runDir,
		fmt.Sprintf("--http=:%d", httpPort), fmt.Sprintf("--https=:%d", httpsPort), fmt.Sprintf("--local=:%d", localPort),
		"--routes="+o.Routes, "--domain="+o.Domain,
		"--queue-proxy-image="+o.QueueProxyImage, "--queue-proxy-pull-policy="+o.PullPolicy)
	if o.Gateway == None {
		c.Args = append(c.Args, "--local-gateway=none") // there is no such Service
	}
	if o.TLSSecret != "" {
		c.Args = append(c.Args, "--tls-secret="+o.TLSSecret)
	}
	c.Ports = []corev1.ContainerPort{port("xds", xdsPort), port("admin", adminPort)}
	c.ReadinessProbe, c.LivenessProbe = readiness("/readyz"), liveness()
	c.Resources = resources("100m", "96Mi", "2Gi")
	c.VolumeMounts = []corev1.VolumeMount{{Name: "run", MountPath: runDir}}
	return []Object{
		o.account(controller), o.service(controller, controller, corev1.ServiceTypeClusterIP, servicePort("xds", xdsPort)),
		o.controllerPolicy(), o.budget(controller),
		o.deployment(role{
			name: controller, replicas: o.ControllerReplicas, grace: controllerGrace, api: true,
			container: c, volumes: []corev1.Volume{scratch("run")},
		}),
	}
}

func (o Options) activator() []Object {
	c := o.container(activator, o.DataPlaneImage, append([]string{"activator",
		fmt.Sprintf("--listen=:%d", activatorPort), fmt.Sprintf("--address=$(POD_IP):%d", activatorPort),
		fmt.Sprintf("--admin=:%d", adminPort)}, o.xdsFlags()...)...)
	c.Ports = []corev1.ContainerPort{port("http", activatorPort), port("admin", adminPort)}
	c.ReadinessProbe, c.LivenessProbe = readiness("/healthz"), liveness()
	c.Resources = resources("100m", "64Mi", "1Gi")
	c.VolumeMounts = []corev1.VolumeMount{xdsMount()}
	return []Object{
		o.account(activator), o.activatorPolicy(), o.budget(activator),
		o.deployment(role{
			name: activator, replicas: o.ActivatorReplicas, grace: drainGrace,
			container: c, volumes: []corev1.Volume{xdsCertificate(activator)},
		}),
	}
}

func (o Options) gateway() []Object {
	r := o.builtinGateway()
	if o.Gateway == Envoy {
		r = o.envoyGateway()
	}
	local := servicePort("http-local", 80)
	return []Object{
		o.account(gateway),
		o.service(gateway, gateway, corev1.ServiceType(o.ServiceType), servicePort("http", 80), servicePort("https", 443)),
		o.service("gateway-local", gateway, corev1.ServiceTypeClusterIP, local),
		o.gatewayPolicy(), o.budget(gateway), o.deployment(r),
	}
}

func (o Options) builtinGateway() role {
	c := o.container(gateway, o.DataPlaneImage, append([]string{"gateway", fmt.Sprintf("--admin=:%d", adminPort)}, o.xdsFlags()...)...)
	return o.completeGateway(c)
}

// envoyGateway runs Envoy as a child of data-plane, which writes its bootstrap, drains it, and passes on its pages for operators. The
// binary is copied into the pod, because the image of Envoy has none, and may have no shell.
func (o Options) envoyGateway() role {
	copies := o.container("copy-data-plane", o.DataPlaneImage, "copy", binDir+"/data-plane")
	copies.Env = nil
	copies.Resources = resources("10m", "16Mi", "256Mi")
	copies.VolumeMounts = []corev1.VolumeMount{{Name: "bin", MountPath: binDir}}

	c := o.container(gateway, o.EnvoyImage, append([]string{"gateway", fmt.Sprintf("--admin=:%d", adminPort),
		"--envoy=envoy", "--envoy-dir=" + runDir, fmt.Sprintf("--max-memory=%d", gatewayMemory)}, o.xdsFlags()...)...)
	c.Command = []string{binDir + "/data-plane"}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "bin", MountPath: binDir, ReadOnly: true}, {Name: "run", MountPath: runDir}}
	r := o.completeGateway(c)
	r.init = []corev1.Container{copies}
	r.volumes = append(r.volumes, corev1.Volume{
		Name: "bin", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	}, scratch("run"))
	return r
}

// completeGateway adds what both gateways have.
func (o Options) completeGateway(c corev1.Container) role {
	c.Ports = []corev1.ContainerPort{
		port("http", httpPort), port("https", httpsPort), port("http-local", localPort), port("admin", adminPort),
	}
	c.ReadinessProbe, c.LivenessProbe = readiness("/ready"), liveness()
	c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: endpointsLag}}}
	c.Resources = resources("200m", "128Mi", gatewayMemoryLimit)
	c.VolumeMounts = append(c.VolumeMounts, xdsMount())
	return role{
		name: gateway, replicas: o.GatewayReplicas, grace: drainGrace, container: c, volumes: []corev1.Volume{xdsCertificate(gateway)},
	}
}

// xdsFlags has a client of the xDS server find it by the variables of the Service, since there may be no DNS, and prove its role by a
// certificate.
func (o Options) xdsFlags() []string {
	return []string{
		"--node-id=$(POD_NAME)", fmt.Sprintf("--xds=$(CONTROLLER_SERVICE_HOST):%d", xdsPort),
		"--xds-server-name=" + ServerName(o.Namespace),
		"--xds-ca=" + xdsDir + "/ca.crt", "--xds-cert=" + xdsDir + "/tls.crt", "--xds-key=" + xdsDir + "/tls.key",
	}
}

// xdsCertificate is the certificate of a role. A controller makes the Secret; until then the kubelet waits with the pod.
func xdsCertificate(role string) corev1.Volume {
	return corev1.Volume{Name: "xds", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: "sluice-xds-" + role, DefaultMode: new(int32(0o440)),
	}}}
}

func xdsMount() corev1.VolumeMount {
	return corev1.VolumeMount{Name: "xds", MountPath: xdsDir, ReadOnly: true}
}
