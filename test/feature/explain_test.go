package feature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/xds/resource"
)

// explain runs sluice explain in the instance's folder, and returns what it prints and its exit code.
func (s *instance) explain(args ...string) (out string, code int) {
	s.t.Helper()
	cmd := exec.Command(sluiceBinary, append([]string{"explain"}, args...)...)
	cmd.Dir = s.dir
	text, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		s.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// explained waits until an explanation has all texts and the exit code, and returns it.
func (s *instance) explained(code int, texts []string, args ...string) string {
	s.t.Helper()
	var out string
	eventually(s.t, fmt.Sprintf("sluice explain %v ends with %d and has %q", args, code, texts), func() error {
		var got int
		out, got = s.explain(args...)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				return fmt.Errorf("no %q in\n%s", text, out)
			}
		}
		if got != code {
			return fmt.Errorf("exit code %d:\n%s", got, out)
		}
		return nil
	})
	return out
}

// drowsyCanary is a Service with a running revision (70 percent) and one at zero (30 percent, tag green).
func drowsyCanary(t *testing.T, g gateway) *instance {
	t.Helper()
	s := g.up(t, "--config", configFile(t, quickToZero))
	o := newApp(t, "hello",
		map[string]string{"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/target-burst-capacity": "0"})
	o.Spec.Template.Metadata.Name = "hello-blue"
	s.create(o)
	s.change("hello", func(o *servingv1.Service) {
		o.Spec.Template.Metadata.Name, o.Spec.Template.Metadata.Annotations = "hello-green", asleep()
		o.Spec.Traffic = servingv1.Traffic{target("hello-blue", "", 70), target("hello-green", "green", 30)}
	})
	s.ready("hello")
	s.explained(0, []string{"70/30", "straight to the replicas"}, "hello")
	return s
}

func TestExplainFollowsRequestsToTheirEnd(t *testing.T) {
	onEachGateway(t, explainFollowsRequestsToTheirEnd)
}

func explainFollowsRequestsToTheirEnd(t *testing.T, g gateway) {
	s := drowsyCanary(t, g)
	out := s.explained(0, []string{
		"Route default/hello is served: 2 revisions, 70/30, 1 of them asleep until a request comes; ",
		"through the activator: asleep", "0 replicas", "straight to the replicas: 1 replica is ready", "tag green",
		"virtual host default/hello/green  listener http (" + s.gateway + "): 100 to cluster default/hello-green",
	}, "hello")
	if diff := cmp.Diff(documentedExplanation(t), anonymous(out)); diff != "" {
		t.Errorf("docs/explain.md differs (-docs +got)\n%s", diff)
	}
	for _, host := range []string{
		"green-hello.default.localhost", "http://green-hello.default.localhost:8080/", "green-hello.default.svc.cluster.local",
	} {
		s.explained(0, []string{" of Route default/hello is served: 1 revision, asleep until a request comes; "}, host)
	}
	s.explained(0, []string{" of Route default/hello is served: 2 revisions, 70/30"}, "hello.default")

	text, code := s.explain("hello", "-o", "json")
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	var e explain.Explanation
	if err := decoder.Decode(&e); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, text)
	}
	if !e.Served || len(e.Revisions) != 2 || e.Revisions[1].Cluster == nil || e.Revisions[1].Cluster.Via != explain.ViaActivator ||
		len(e.Clients) == 0 {
		t.Errorf("the JSON is\n%s", text)
	}

	// With a replica, requests take another way to the revision, and the activator has its endpoints.
	if status, body, err := s.get("green-"+host, "/"); err != nil || status != 200 {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	s.explained(0, []string{"1 replica of 1 asked for", "activator activator-"}, "green-"+host)
}

func TestExplainNamesTheBrokenLinkAndTheRemedy(t *testing.T) {
	t.Parallel()
	s := drowsyCanary(t, builtin)
	s.change("hello", func(o *servingv1.Service) {
		o.Spec.Template.Metadata.Name, o.Spec.Template.Metadata.Annotations = "hello-red", nil
		o.Spec.Template.Spec.Containers[0].Command = []string{"/no/such/command"}
		o.Spec.Traffic = servingv1.Traffic{target("hello-blue", "", 70), target("hello-red", "", 30)}
	})
	s.explained(1, []string{
		"Route default/hello is served, but not as asked: Revision default/hello-red, which is to get 30 % of the requests, failed " +
			"(CommandNotFound)",
		"Correct the container in the template", "asked 70 % to hello-blue: given 70 %",
		"asked 30 % to hello-red: given nothing; Revision hello-red failed", "no longer asked for",
	}, "hello")
	if err := s.Create(t.Context(), newService("lost", "/no/such/command")); err != nil {
		t.Fatal(err)
	}
	s.explained(1, []string{
		"no: Revision default/lost-00001, which is to get 100 % of the requests, failed (CommandNotFound)", "answers 503 itself",
	}, "lost")
	s.explained(1, []string{"no: There is no Service, Route or Configuration default/helo. Did you mean default/hello?"}, "helo")
	s.explained(1,
		[]string{"no: No Route and no DomainMapping has the host blue-hello.default.localhost", "Did you mean", "hello.default.localhost"},
		"blue-hello.default.localhost")
	s.explained(1, []string{"whether it is served is unknown", "The xDS server ", "Revision default/hello-blue  70 %"}, "hello",
		"--xds", address.Free(t))
	s.explained(1, []string{"no: No kubeconfig can be used (tried nowhere)", "--kubeconfig"}, "hello", "--kubeconfig", "nowhere")
	s.explained(2, []string{"unknown flag"}, "hello", "--nonsense")
	s.explained(2, []string{"no service and no host"}, "a/b/c")
	s.stop()
	s.explained(1, []string{"no: The Kubernetes API https://127.0.0.1:", "(of kubeconfig .sluice/kubeconfig) cannot be read"}, "hello")
}

func TestExplainShowsWhoRejects(t *testing.T) {
	t.Parallel()
	s := drowsyCanary(t, builtin)
	reject(t, s.socket(), "default/hello-blue")
	s.explained(1, []string{
		"Route default/hello is served, but not as asked: 1 client of 3 (mesh stubborn) keeps what it had and rejects Cluster " +
			"default/hello-blue: I do not like default/hello-blue",
		"mesh stubborn  rejects",
	}, "hello")
	s.explained(0, []string{"mesh stubborn  does not take it"}, "green-"+host)
}

// reject connects a client that NACKs a cluster until the test ends.
func reject(t *testing.T, server, cluster string) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request := &discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: "stubborn", Cluster: "mesh"}, TypeUrl: resource.ClusterType, ResourceNamesSubscribe: []string{cluster},
	}
	if err := stream.Send(request); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			response, err := stream.Recv()
			if err != nil {
				return
			}
			_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
				TypeUrl: response.GetTypeUrl(), ResponseNonce: response.GetNonce(),
				ErrorDetail: &statuspb.Status{Code: 3, Message: "I do not like " + cluster},
			})
		}
	}()
}

var (
	addresses = regexp.MustCompile(`127\.0\.0\.1:\d+|localhost:\d+`)
	nodes     = regexp.MustCompile(`(gateway|activator) (gateway|activator)-\S+`)
)

// anonymous removes what differs from run to run.
func anonymous(text string) string {
	text = addresses.ReplaceAllString(text, "ADDRESS")
	return strings.TrimSpace(nodes.ReplaceAllString(text, "$1 ID"))
}

// documentedExplanation returns the example of docs/explain.md.
func documentedExplanation(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(absolute(t, "docs/explain.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := bytes.Cut(page, []byte("    sluice explain hello\n\n"))
	if !found {
		t.Fatal("docs/explain.md has no example")
	}
	var lines []string
	for line := range strings.Lines(string(rest)) {
		text, indented := strings.CutPrefix(line, "    ")
		if !indented && strings.TrimSpace(line) != "" {
			break
		}
		lines = append(lines, text)
	}
	return anonymous(strings.Join(lines, ""))
}
