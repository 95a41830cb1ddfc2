package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/model"
)

// environment returns a getenv with the required variables, changed by name, value, name, value…
func environment(changes ...string) func(string) string {
	values := map[string]string{
		"QUEUE_SERVING_PORT": "8012", "USER_PORT": "8080", "CONTAINER_CONCURRENCY": "10", "REVISION_TIMEOUT_SECONDS": "300",
	}
	for i := 0; i < len(changes); i += 2 {
		values[changes[i]] = changes[i+1]
	}
	return func(name string) string { return values[name] }
}

func TestEnvironmentOfKnative(t *testing.T) {
	c, err := readConfig(environment(
		"SERVING_NAMESPACE", "default", "SERVING_SERVICE", "", "SERVING_REVISION", "hello-00001", "SERVING_POD", "hello-00001-x",
		"REVISION_RESPONSE_START_TIMEOUT_SECONDS", "20", "REVISION_IDLE_TIMEOUT_SECONDS", "10", "QUEUE_SERVING_PORT", "8013",
		"SERVING_ENABLE_REQUEST_LOG", "true", "SLUICE_STREAM_DRAIN_SECONDS", "1.5",
		"SERVING_READINESS_PROBE", `{"httpGet":{"path":"/ready","port":8080,"host":"127.0.0.1","scheme":"HTTP",`+
			`"httpHeaders":[{"name":"X-Key","value":"yes"}]},"successThreshold":1,"timeoutSeconds":2}`,
		"SERVING_LOGGING_CONFIG", `{"level":"info"}`, // Knative's, which we do not read
	))
	if err != nil {
		t.Fatal(err)
	}
	o := c.options
	if o.Target != "127.0.0.1:8080" || o.Protocol != model.H2C || o.Concurrency != 10 || !c.requestLog {
		t.Errorf("got %+v", o)
	}
	got := []time.Duration{o.Timeout, o.ResponseStart, o.Idle, o.Quiet, o.StreamDrain, c.longest}
	want := []time.Duration{300 * time.Second, 20 * time.Second, 10 * time.Second, 30 * time.Second, 1500 * time.Millisecond, 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("times: " + diff)
	}
	labels := map[string]string{"namespace": "default", "revision": "hello-00001", "pod": "hello-00001-x"}
	if diff := cmp.Diff(labels, o.Labels); diff != "" {
		t.Error("labels: " + diff)
	}
	if want := (model.Key{Namespace: "default", Name: "hello-00001"}); o.Revision != want {
		t.Errorf("it is of revision %v", o.Revision)
	}
	probe := model.Probe{Port: 8080, Timeout: 2 * time.Second, SuccessThreshold: 1,
		HTTP: &model.HTTPProbe{Path: "/ready", Scheme: "HTTP", Headers: []model.EnvVar{{Name: "X-Key", Value: "yes"}}}}
	if diff := cmp.Diff(probe, c.probes[0].model()); diff != "" {
		t.Error("probe: " + diff)
	}
	if c.servingPort != 8013 || c.adminPort != 8022 || c.metricsPort != 9090 || c.level != hclog.Info {
		t.Errorf("got %+v", c)
	}
}

func TestProbesOfEveryKind(t *testing.T) {
	for text, want := range map[string][]model.Probe{
		"": {{TCP: true}},
		`{"tcpSocket":{"port":"8080","host":"127.0.0.1"},"periodSeconds":5}`: {{TCP: true, Port: 8080, Period: 5 * time.Second}},
		`{"grpc":{"port":9000,"service":"mine"},"failureThreshold":2}`: {{GRPC: &model.GRPCProbe{Service: "mine"}, Port: 9000,
			FailureThreshold: 2}},
		`{"httpGet":{"host":"other.example","scheme":"HTTPS"}}`: {{HTTP: &model.HTTPProbe{Host: "other.example",
			Scheme: "HTTPS"}}},
		` [{"tcpSocket":{"port":1}},{"tcpSocket":{"port":2}}]`: {{TCP: true, Port: 1}, {TCP: true, Port: 2}},
	} {
		c, err := readConfig(environment("SERVING_READINESS_PROBE", text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []model.Probe
		for _, p := range c.probes {
			got = append(got, p.model())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestWrongValuesAreRefusedAllAtOnce(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"QUEUE_SERVING_PORT", "",
			"QUEUE_SERVING_PORT must be set: port for requests; 8013 means that the application speaks h2c. 0 has the system choose"},
		{"QUEUE_SERVING_PORT", "70000", `QUEUE_SERVING_PORT is "70000": want a whole number from 0 to 65535`},
		{"USER_PORT", "http", `USER_PORT is "http": want a port number from 1 to 65535`},
		{"USER_PORT", "0", `USER_PORT is "0": want a port number from 1 to 65535`},
		{"CONTAINER_CONCURRENCY", "-1", `CONTAINER_CONCURRENCY is "-1": want a whole number from 0 to 1000000`},
		{"CONTAINER_CONCURRENCY", "1.5", `CONTAINER_CONCURRENCY is "1.5": want a whole number from 0 to 1000000`},
		{"REVISION_TIMEOUT_SECONDS", "5m",
			`REVISION_TIMEOUT_SECONDS is "5m": want a number of seconds from 0 to 1000000000, such as 30 or 0.5`},
		{"REVISION_IDLE_TIMEOUT_SECONDS", "NaN",
			`REVISION_IDLE_TIMEOUT_SECONDS is "NaN": want a number of seconds from 0 to 1000000000, such as 30 or 0.5`},
		{"REVISION_RESPONSE_START_TIMEOUT_SECONDS", "1e10",
			`REVISION_RESPONSE_START_TIMEOUT_SECONDS is "1e10": want a number of seconds from 0 to 1000000000, such as 30 or 0.5`},
		{"SERVING_ENABLE_REQUEST_LOG", "on", `SERVING_ENABLE_REQUEST_LOG is "on": want true or false`},
		{"SERVING_LOGGING_LEVEL", "loud", `SERVING_LOGGING_LEVEL is "loud": want debug, info, warn or error`},
		{"SLUICE_STREAM_DRAIN_SECONDS", "-3",
			`SLUICE_STREAM_DRAIN_SECONDS is "-3": want a number of seconds from 0 to 1000000000, such as 30 or 0.5`},
		{"SLUICE_PROTOCOL", "h2", `SLUICE_PROTOCOL is "h2": want http1 or h2c, or none to go by QUEUE_SERVING_PORT`},
		{"SLUICE_LISTEN_HOST", "here", `SLUICE_LISTEN_HOST is "here": want an IP address`},
		{"SLUICE_METRICS_PORT", "x", `SLUICE_METRICS_PORT is "x": want a whole number from 0 to 65535`},
		{"SERVING_READINESS_PROBE", "yes",
			`SERVING_READINESS_PROBE is "yes": not a Probe of Kubernetes as JSON: invalid character 'y' looking for beginning of value`},
		{"SERVING_READINESS_PROBE", "{}", `SERVING_READINESS_PROBE is "{}": it has 0 of httpGet, tcpSocket and grpc, want one`},
		{"SERVING_READINESS_PROBE", "[]", `SERVING_READINESS_PROBE is "[]": the list is empty, want at least one Probe`},
		{"SERVING_READINESS_PROBE", `{"httpGet":{},"tcpSocket":{}}`,
			`SERVING_READINESS_PROBE is "{\"httpGet\":{},\"tcpSocket\":{}}": it has 2 of httpGet, tcpSocket and grpc, want one`},
		{"SERVING_READINESS_PROBE", `{"exec":{"command":["true"]}}`,
			`SERVING_READINESS_PROBE is "{\"exec\":{\"command\":[\"true\"]}}": exec cannot be run from here: leave it to the ` +
				`application's container, and give tcpSocket here`},
		{"SERVING_READINESS_PROBE", `{"httpGet":{"port":"http"}}`,
			`SERVING_READINESS_PROBE is "{\"httpGet\":{\"port\":\"http\"}}": not a Probe of Kubernetes as JSON: port is "http", want a ` +
				`number from 1 to 65535, or 0 for USER_PORT`},
		{"SERVING_READINESS_PROBE", `{"httpGet":{"scheme":"FTP"}}`,
			`SERVING_READINESS_PROBE is "{\"httpGet\":{\"scheme\":\"FTP\"}}": httpGet.scheme is "FTP", want HTTP or HTTPS`},
		{"SERVING_READINESS_PROBE", `{"tcpSocket":{"host":"1.1.1.1"}}`,
			`SERVING_READINESS_PROBE is "{\"tcpSocket\":{\"host\":\"1.1.1.1\"}}": tcpSocket.host is "1.1.1.1", want none: the ` +
				`application is in this pod`},
		{"SERVING_READINESS_PROBE", `{"grpc":{},"timeoutSeconds":-1}`,
			`SERVING_READINESS_PROBE is "{\"grpc\":{},\"timeoutSeconds\":-1}": timeoutSeconds is -1, want 0 to 1000000000`},
	} {
		_, err := readConfig(environment(test.name, test.value))
		if err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
	_, err := readConfig(environment("USER_PORT", "x", "CONTAINER_CONCURRENCY", "x", "REVISION_TIMEOUT_SECONDS", ""))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 {
		t.Errorf("got %d lines, want one for each of three: %v", len(lines), err)
	}
}

func TestHelpNamesEveryVariable(t *testing.T) {
	text := help()
	for _, v := range variables(&config{}) {
		if !strings.Contains(text, "  "+v.name+" ") || v.use == "" {
			t.Errorf("help says nothing of %s", v.name)
		}
	}
}

func TestSidecarStaysSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		for _, heavy := range []string{
			"k8s.io/", "sigs.k8s.io/", "github.com/envoyproxy/", "github.com/cncf/", "google.golang.org/", "go.etcd.io/",
			"github.com/prometheus/",
		} {
			if strings.HasPrefix(dep, heavy) {
				t.Errorf("cmd/queue-proxy depends on %s: one of it runs in every pod", dep)
			}
		}
	}
}
