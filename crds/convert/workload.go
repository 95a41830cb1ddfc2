package convert

import (
	"cmp"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// DefaultPort is where the serving container takes requests when its spec names no port.
const DefaultPort = 8080

// defaultPeriod is the period in seconds with which Kubernetes probes when a liveness or startup probe has none.
const defaultPeriod = 10

// Workload returns what a runtime must run for a Revision. It leaves out the number of replicas, which the autoscaler decides, and what
// only pods have. Images are those that the Revision's status has, and until it has some those of the spec. The Problems are mistakes in
// the Revision, which no runtime can run. ProcessProblems adds those of one machine.
func Workload(r *servingv1.Revision) (model.Workload, []model.Problem) {
	spec := r.Effective()
	w := model.Workload{
		Revision: keyOf(r), UID: string(r.UID),
		Service: r.Labels[servingv1.ServiceLabel], Configuration: r.Labels[servingv1.ConfigurationLabel],
		Generation:  r.Labels[servingv1.ConfigurationGenerationLabel],
		Protocol:    protocolOf(spec),
		Concurrency: int(*spec.ContainerConcurrency), Timeout: seconds(spec.TimeoutSeconds),
		ResponseStart: seconds(spec.ResponseStartTimeoutSeconds), Idle: seconds(spec.IdleTimeoutSeconds),
	}
	w.ProgressDeadline, _ = duration(r.Annotations, servingv1.ProgressDeadlineAnnotation)
	w.StreamDrain, _ = streamDrain(r)
	if v := Revision(r); v.Routing == model.RoutingReserve {
		// The annotation has whole seconds, rounded down.
		w.StreamDeadline = v.RoutingSince.Add(time.Second + w.StreamDrain)
	}
	source, _ := metricsSource(r.Annotations)
	w.Direct = source == model.FromEnvoy
	b := builder{owner: model.Ref{Kind: servingv1.KindRevision, Key: w.Revision}, workload: &w, images: ResolvedImages(r)}
	for _, c := range spec.InitContainers {
		w.Init = append(w.Init, model.Container{Name: c.Name, Image: cmp.Or(b.images[c.Name], c.Image)})
	}
	serving := spec.ServingContainer()
	if b.serving = serving; serving == nil {
		b.problem("NoServingContainer", "none of the %d containers has ports: want one port on the container that takes requests",
			len(spec.Containers))
		return w, b.problems
	}
	w.CPU = requestedCPU(spec)
	w.Containers = append(w.Containers, b.container(serving, true))
	for i := range spec.Containers {
		if c := &spec.Containers[i]; c != serving {
			w.Containers = append(w.Containers, b.container(c, false))
		}
	}
	return w, b.problems
}

// requestedCPU is what the containers request, in thousandths of a core. As in Kubernetes a limit is also a request.
func requestedCPU(spec *servingv1.RevisionSpec) (sum int64) {
	const cpu, core = "cpu", 1000
	for i := range spec.Containers {
		r := &spec.Containers[i].Resources
		q, ok := r.Requests[cpu]
		if !ok {
			q, ok = r.Limits[cpu]
		}
		if ok && q.Sign() > 0 {
			sum += q.MilliValue()
		} else {
			sum += core
		}
	}
	return sum
}

// protocolOf returns the protocol that the name of the serving container's port stands for.
func protocolOf(spec *servingv1.RevisionSpec) model.Protocol {
	if c := spec.ServingContainer(); c != nil && len(c.Ports) > 0 && c.Ports[0].Name == "h2c" {
		return model.H2C
	}
	return model.HTTP1
}

func seconds(n *int64) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Second
}

// builder makes the containers of a workload and collects Problems.
type builder struct {
	owner    model.Ref
	workload *model.Workload
	images   map[string]string // by container; those without one run the image that the spec names
	// serving is the container that takes requests.
	serving  *servingv1.Container
	problems []model.Problem
}

func (b *builder) problem(reason, format string, args ...any) {
	b.problems = append(b.problems, model.Problem{Owner: b.owner, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (b *builder) container(c *servingv1.Container, serving bool) model.Container {
	out := model.Container{
		Name: c.Name, Image: cmp.Or(b.images[c.Name], c.Image), Command: c.Command, Args: c.Args, WorkingDir: c.WorkingDir,
		Env: b.env(c), Limits: map[string]string{},
		Liveness: b.probe(c, c.LivenessProbe, false), Startup: b.probe(c, c.StartupProbe, false),
		Readiness: b.probe(c, c.ReadinessProbe, serving),
	}
	for name, q := range c.Resources.Limits {
		out.Limits[string(name)] = q.String()
	}
	if serving {
		out.Port = b.requests()
		out.Env = append(out.Env, model.EnvVar{Name: "PORT", Value: fmt.Sprint(out.Port)})
	}
	return out
}

// env is the container's own environment, followed by Knative's variables: of two with one name the later one counts. It lacks values
// that are in other objects.
func (b *builder) env(c *servingv1.Container) []model.EnvVar {
	var out []model.EnvVar
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			out = append(out, model.EnvVar{Name: e.Name, Value: e.Value})
		}
	}
	return append(out,
		model.EnvVar{Name: "K_REVISION", Value: b.workload.Revision.Name},
		model.EnvVar{Name: "K_CONFIGURATION", Value: b.workload.Configuration},
		model.EnvVar{Name: "K_SERVICE", Value: b.workload.Service},
	)
}

// probe converts a probe; nil stays nil. Only the serving container's readiness can be aggressive: for the others a
// period of 0 means Kubernetes' 10 seconds.
func (b *builder) probe(c *servingv1.Container, p *servingv1.Probe, aggressive bool) *model.Probe {
	if p == nil {
		return nil
	}
	period := p.PeriodSeconds
	if period == 0 && !aggressive {
		period = defaultPeriod
	}
	out := &model.Probe{
		Period: time.Duration(period) * time.Second, InitialDelay: time.Duration(p.InitialDelaySeconds) * time.Second,
		Timeout:          time.Duration(cmp.Or(p.TimeoutSeconds, 1)) * time.Second,
		SuccessThreshold: int(cmp.Or(p.SuccessThreshold, 1)), FailureThreshold: int(cmp.Or(p.FailureThreshold, 3)),
	}
	switch {
	case p.HTTPGet != nil:
		out.HTTP = &model.HTTPProbe{Path: p.HTTPGet.Path, Host: p.HTTPGet.Host, Scheme: string(p.HTTPGet.Scheme)}
		for _, h := range p.HTTPGet.HTTPHeaders {
			out.HTTP.Headers = append(out.HTTP.Headers, model.EnvVar{Name: h.Name, Value: h.Value})
		}
		out.Port = b.port(c, p.HTTPGet.Port)
	case p.GRPC != nil:
		out.GRPC = &model.GRPCProbe{}
		if p.GRPC.Service != nil {
			out.GRPC.Service = *p.GRPC.Service
		}
		out.Port = b.port(c, intstr.FromInt32(p.GRPC.Port))
	case p.Exec != nil:
		out.Exec = p.Exec.Command
	default:
		out.TCP = true
		if p.TCPSocket != nil {
			out.Port = b.port(c, p.TCPSocket.Port)
		}
	}
	return out
}

// requests is the port that requests are sent to.
func (b *builder) requests() int {
	if len(b.serving.Ports) > 0 && b.serving.Ports[0].ContainerPort != 0 {
		return int(b.serving.Ports[0].ContainerPort)
	}
	return DefaultPort
}

// port resolves a port number or name. It returns 0 for the port that requests are sent to: a runtime may choose another one.
func (b *builder) port(c *servingv1.Container, p intstr.IntOrString) int {
	switch {
	case p.Type == intstr.Int && p.IntValue() != b.requests():
		return p.IntValue()
	case p.Type == intstr.Int, p.StrVal == "", p.StrVal == "user-port":
	case len(c.Ports) == 0 || c.Ports[0].Name != p.StrVal:
		b.problem("InvalidProbe", "container %q: a probe names port %q, want the name of its port or a number", c.Name, p.StrVal)
	}
	return 0
}
