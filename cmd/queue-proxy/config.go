package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
)

const (
	h2cPort    = 8013          // of revisions that speak h2c, as in Knative
	maxSeconds = 1_000_000_000 // 31 years: more would overflow
)

// config is the configuration that the environment has.
type config struct {
	host                                string
	servingPort, adminPort, metricsPort int
	options                             queueproxy.Options
	probes                              []probe
	longest                             time.Duration // of a drain; 0 means no bound
	requestLog                          bool
	tracing                             model.Tracing
	otel                                map[string]string // OpenTelemetry's variables
	level                               hclog.Level
}

// variable is one environment variable: what it is for, its value when it is not set, and how it is read.
type variable struct {
	name, fallback, use string
	// required ones have no fallback.
	required bool
	// set reads a value; its error says which values are right.
	set func(value string) error
}

// variables returns all variables. They set fields of c.
func variables(c *config) []variable {
	o := &c.options
	label := func(name string) func(string) error {
		return func(value string) error {
			if value != "" {
				o.Labels[name] = value
			}
			return nil
		}
	}
	return []variable{
		{name: "QUEUE_SERVING_PORT", required: true, set: number(&c.servingPort, 65535),
			use: "port for requests; 8013 means that the application speaks h2c. 0 has the system choose"},
		{name: "USER_PORT", required: true, set: c.userPort, use: "port of the application, on 127.0.0.1"},
		{name: "CONTAINER_CONCURRENCY", required: true, set: number(&o.Concurrency, 1e6),
			use: "requests that the application gets at a time; ten times as many wait. 0 means no limit"},
		{name: "REVISION_TIMEOUT_SECONDS", required: true, set: seconds(&o.Timeout), use: "bounds a whole request; 0 means no bound"},
		{name: "REVISION_RESPONSE_START_TIMEOUT_SECONDS", fallback: "0", set: seconds(&o.ResponseStart),
			use: "bounds the time to the first byte of a response"},
		{name: "REVISION_IDLE_TIMEOUT_SECONDS", fallback: "0", set: seconds(&o.Idle),
			use: "bounds the time between two writes of a response"},
		{name: "SERVING_READINESS_PROBE", fallback: `{"tcpSocket":{}}`, set: c.readinessProbe,
			use: "Kubernetes' Probe as JSON, or a list of them; a period of 0 probes as often as is useful"},
		{name: "SERVING_ENABLE_REQUEST_LOG", fallback: "false", set: boolean(&c.requestLog),
			use: "writes a line of JSON for each request to the standard output"},
		{name: "SERVING_NAMESPACE", set: label("namespace"),
			use: "in each line of the request log; with SERVING_REVISION, requests for other revisions are turned away"},
		{name: "SERVING_SERVICE", set: label("service"), use: "likewise"},
		{name: "SERVING_CONFIGURATION", set: label("configuration"), use: "likewise"},
		{name: "SERVING_REVISION", set: label("revision"), use: "likewise"},
		{name: "SERVING_POD", set: label("pod"), use: "likewise"},
		{name: "SERVING_LOGGING_LEVEL", fallback: "info", set: c.logLevel, use: "debug, info, warn or error"},
		{name: "SLUICE_DRAIN_QUIET_SECONDS", fallback: "30", set: seconds(&o.Quiet),
			use: "for how long no request must have come before a drain is over"},
		{name: "SLUICE_STREAM_DRAIN_SECONDS", fallback: "60", set: seconds(&o.StreamDrain),
			use: "how long WebSockets and gRPC streams may go on after SIGTERM; 0 means no bound"},
		{name: "SLUICE_DRAIN_LONGEST_SECONDS", fallback: "0", set: seconds(&c.longest),
			use: "after which what is left is cut off; 0 means never: the pod's grace period ends it"},
		{name: "SLUICE_PROTOCOL", set: c.protocol, use: "http1 or h2c, whatever the port"},
		{name: "SLUICE_LISTEN_HOST", set: c.listenHost, use: "address to listen on; none means all"},
		{name: "SLUICE_ACTIVATOR_KEY", set: c.activatorKey,
			use: "public key that checks what activators and controllers say of themselves, so that no client's request goes uncounted; " +
				"without it whoever says activator is believed"},
		{name: "SLUICE_ADMIN_PORT", fallback: "8022", set: number(&c.adminPort, 65535),
			use: "port for /ready, /wait-for-drain, /healthz and /stream-deadline"},
		c.otelVariable(tracing.EnvTracesEndpoint, "URL of an OpenTelemetry collector that gets a span for each request; without one there "+
			"are no spans, and headers of traces are passed on as they are"),
		c.otelVariable(tracing.EnvEndpoint, "the same without the path of OTLP over HTTP, /v1/traces"),
		c.otelVariable(tracing.EnvTracesProtocol, "grpc or http/protobuf, which it is if not set"),
		c.otelVariable(tracing.EnvProtocol, "likewise"),
		c.otelVariable(tracing.EnvSampler, "which requests without traceparent get a span: parentbased_always_on, which it is if not set, "+
			"parentbased_traceidratio or parentbased_always_off"),
		c.otelVariable(tracing.EnvSamplerArg, "the part of them for parentbased_traceidratio, 0 to 1"),
		c.otelVariable(tracing.EnvExporter, "none switches spans off"),
		c.otelVariable(tracing.EnvDisabled, "true does so too"),
		{name: "SLUICE_METRICS_PORT", fallback: "9090", set: number(&c.metricsPort, 65535), use: "port for /metrics, as Prometheus text"},
	}
}

// readConfig reads all variables. The error names everything that is wrong, a line each.
func readConfig(getenv func(string) string) (config, error) {
	c := config{options: queueproxy.Options{Labels: map[string]string{}}, otel: map[string]string{}}
	var wrong []error
	for _, v := range variables(&c) {
		value := getenv(v.name)
		if value == "" && v.required {
			wrong = append(wrong, fmt.Errorf("%s must be set: %s", v.name, v.use))
			continue
		}
		if value == "" {
			value = v.fallback
		}
		if err := v.set(value); err != nil {
			wrong = append(wrong, fmt.Errorf("%s is %.200q: %w", v.name, value, err))
		}
	}
	var err error
	if c.tracing, err = tracing.FromEnvironment(func(name string) string { return c.otel[name] }); err != nil {
		wrong = append(wrong, err)
	}
	if labels := c.options.Labels; labels["namespace"] != "" && labels["revision"] != "" {
		c.options.Pod = labels["pod"]
		c.options.Revision = model.Key{Namespace: labels["namespace"], Name: labels["revision"]}
	}
	if c.options.Protocol == "" {
		c.options.Protocol = model.HTTP1
		if c.servingPort == h2cPort {
			c.options.Protocol = model.H2C
		}
	}
	if c.options.Quiet == 0 {
		c.options.Quiet = time.Nanosecond // where the option's zero means its own default
	}
	return c, errors.Join(wrong...)
}

// otelVariable is one of OpenTelemetry's variables, which are read together.
func (c *config) otelVariable(name, use string) variable {
	return variable{name: name, use: use, set: func(value string) error {
		c.otel[name] = value
		return nil
	}}
}

// help is the text of --help.
func help() string {
	var text strings.Builder
	text.WriteString(`queue-proxy stands before the application in a pod: it limits how many requests the application gets at a time, queues
others, ends those that take too long, answers probes, reports the load, and drains before the pod ends. Environment
variables configure it:

`)
	for _, v := range variables(&config{}) {
		use := v.use
		switch {
		case v.required:
			use += " (required)"
		case v.fallback != "":
			use += " (" + v.fallback + " if not set)"
		}
		fmt.Fprintf(&text, "  %-40s %s\n", v.name, use)
	}
	text.WriteString(`
On SIGTERM probes fail at once and requests are served until none has come for the quiet period; a second one ends it at
once. Exit status: 0 after a drain, 1 when something failed or requests were cut off, 2 when a variable is wrong.
`)
	return text.String()
}

func number(to *int, most int) func(string) error {
	return func(value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > most {
			return fmt.Errorf("want a whole number from 0 to %d", most)
		}
		*to = n
		return nil
	}
}

func seconds(to *time.Duration) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(n) || n < 0 || n > maxSeconds {
			return fmt.Errorf("want a number of seconds from 0 to %d, such as 30 or 0.5", maxSeconds)
		}
		*to = time.Duration(n * float64(time.Second))
		return nil
	}
}

func boolean(to *bool) func(string) error {
	return func(value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("want true or false")
		}
		*to = b
		return nil
	}
}

func (c *config) userPort(value string) error {
	n := 0
	if number(&n, 65535)(value) != nil || n == 0 {
		return errors.New("want a port number from 1 to 65535")
	}
	c.options.Target = net.JoinHostPort("127.0.0.1", value)
	return nil
}

func (c *config) readinessProbe(value string) (err error) {
	c.probes, err = parseProbes(value)
	return err
}

func (c *config) protocol(value string) error {
	switch value {
	case "", "http1":
		c.options.Protocol = model.Protocol(value)
	case "h2c":
		c.options.Protocol = model.H2C
	default:
		return errors.New("want http1 or h2c, or none to go by QUEUE_SERVING_PORT")
	}
	return nil
}

func (c *config) activatorKey(value string) (err error) {
	c.options.ActivatorKey, err = contract.ParseKey(value)
	return err
}

func (c *config) listenHost(value string) error {
	if value != "" && net.ParseIP(value) == nil {
		return errors.New("want an IP address")
	}
	c.host = value
	return nil
}

func (c *config) logLevel(value string) error {
	if c.level = hclog.LevelFromString(value); c.level == hclog.NoLevel {
		return errors.New("want debug, info, warn or error")
	}
	return nil
}
