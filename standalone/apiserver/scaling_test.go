package apiserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/crds"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// scalingValue is an annotation, its other spelling, valid values, and invalid ones for which Knative has a message.
type scalingValue struct {
	name, alt    string
	right, wrong []string
}

// The metric-aggregation-algorithm is not among them: it needs a class. TestSchemaSaysKnativesSentences covers it.
var scalingValues = []scalingValue{
	{"class", "", []string{autoscaler.KPA, autoscaler.HPA, "", "mine.example.com"},
		[]string{"x.knative.dev", "KPA.autoscaling.knative.dev"}},
	{"metric", "", []string{"concurrency", "rps"}, []string{"", "cpu", "RPS"}},
	{"target", "", []string{"0.01", "10", "1e3", "+5", ".5", "0x1p4", "1_000"},
		[]string{"", "x", "0", "0.0099", "-1", "10%", "NaN", "Inf", "-inf"}},
	{"target-utilization-percentage", "targetUtilizationPercentage", []string{"1", "70.5", "100"},
		[]string{"0", "0.99", "100.01", "-70", "70%", "", "NaN", "Infinity"}},
	{"min-scale", "minScale", []string{"0", "007", "+3", "-0", "2147483647"},
		[]string{"-1", "1.5", "one", "", "1_0", " 1", "2147483648", "99999999999999999999"}},
	{"max-scale", "maxScale", []string{"0", "1", "2147483647"},
		[]string{"-1", "1.5", "one", "", "0x1", "2147483648", "-99999999999999999999"}},
	{"initial-scale", "initialScale", []string{"1", "2147483647"}, []string{"-1", "1.5", "one", "", "2147483648", "-2147483649"}},
	{"activation-scale", "", []string{"2", "+12", "2147483647"}, []string{"1", "0", "2.0", "two", "", "2147483648"}},
	{"scale-down-delay", "scaleDownDelay", []string{"0", "0s", "1h", "60m", "1.5m", "1m30s", "2000ms"},
		[]string{"-1s", "61m", "1500ms", "1s1ns", "60", "1d", "soon", ""}},
	{"scale-to-zero-pod-retention-period", "scaleToZeroPodRetentionPeriod", []string{"0s", "1500ms", "1µs", "1h"},
		[]string{"-1ns", "1h1ns", "60", "1d", "soon", ""}},
	{"window", "", []string{"6s", "1m", "3600s", "0.1h"}, []string{"5s", "0", "1h1s", "6500ms", "6s1µs", "60", "-1m", "soon", ""}},
	{"panic-window-percentage", "panicWindowPercentage", []string{"1", "10", "100"}, []string{"0.5", "101", "-10", "10%", ""}},
	{"panic-threshold-percentage", "panicThresholdPercentage", []string{"110", "200.0", "1000"}, []string{"109.9", "1001", "2x", ""}},
	{"target-burst-capacity", "targetBurstCapacity", []string{"-1", "0", "-0", "211.5"},
		[]string{"-2", "-0.5", "-1.1", "all", "", "Inf", "NaN"}},
}

func scalingKey(name string) string { return servingv1.AutoscalingGroup + "/" + name }

// scalingServer is a server whose CheckScaling is the autoscaler's, as in `sluice up`.
func scalingServer(t *testing.T) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	config := autoscaler.DefaultConfig()
	s, err := Start(ctx, Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", CheckScaling: func(a map[string]string) error {
		return autoscaler.Validate(&config, a)
	}})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// tried creates an object with annotations where revisions get theirs from, without storing it.
func tried(t *testing.T, s *Server, manifest string, annotations map[string]string) error {
	t.Helper()
	u := object(t, manifest)
	path := []string{"spec", "template", "metadata", "annotations"}
	if u.GetKind() == servingv1.KindRevision {
		path = path[2:]
	}
	if err := unstructured.SetNestedStringMap(u.Object, annotations, path...); err != nil {
		t.Fatal(err)
	}
	c := objects(t, s, strings.ToLower(u.GetKind())+"s", "scaling")
	_, err := c.Create(t.Context(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// sentences are what an error says of the annotations, one for each cause.
func sentences(t *testing.T, err error) []string {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		t.Fatalf("got %v, want an error of reason Invalid", err)
	}
	var all []string
	for _, cause := range status.Status().Details.Causes {
		if !strings.HasSuffix(cause.Field, "metadata.annotations") {
			t.Errorf("%v is about %s, want the annotations", err, cause.Field)
		}
		all = append(all, strings.TrimPrefix(cause.Message, "Invalid value: "))
	}
	return all
}

func lines(err error) []string { return strings.Split(err.Error(), "\n") }

func TestWrongScalingIsRefusedInKnativesWords(t *testing.T) {
	asking, config := scalingServer(t), autoscaler.DefaultConfig()
	for _, v := range scalingValues {
		for _, name := range slices.DeleteFunc([]string{v.name, v.alt}, func(name string) bool { return name == "" }) {
			for _, value := range v.wrong {
				annotations := map[string]string{scalingKey(name): value}
				want := autoscaler.Validate(&config, annotations)
				if want == nil {
					t.Fatalf("%s %q is not wrong", name, value)
				}
				for _, manifest := range []string{service, configuration, revision} {
					if diff := cmp.Diff(lines(want), sentences(t, tried(t, asking, manifest, annotations))); diff != "" {
						t.Errorf("%s %q, by the autoscaler (-want +got):\n%s", name, value, diff)
					}
				}
				for _, manifest := range []string{service, configuration} {
					if diff := cmp.Diff(lines(want), sentences(t, tried(t, shared, manifest, annotations))); diff != "" {
						t.Errorf("%s %q, by the schema (-want +got):\n%s", name, value, diff)
					}
				}
				// CEL does not see the annotations of the object itself, so the schema accepts any value.
				if err := tried(t, shared, revision, annotations); err != nil {
					t.Errorf("%s %q on a Revision: %v, want the schema to let it pass", name, value, err)
				}
			}
		}
	}
}

func TestRightScalingIsAccepted(t *testing.T) {
	asking := scalingServer(t)
	accept := func(annotations map[string]string) {
		t.Helper()
		for _, manifest := range []string{service, configuration, revision} {
			for who, s := range map[string]*Server{"autoscaler": asking, "schema": shared} {
				if err := tried(t, s, manifest, annotations); err != nil {
					t.Errorf("%v, by the %s: %v", annotations, who, err)
				}
			}
		}
	}
	for _, v := range scalingValues {
		for _, value := range v.right {
			accept(map[string]string{scalingKey(v.name): value})
			if v.alt != "" {
				accept(map[string]string{scalingKey(v.alt): value})
				// The spelling with dashes wins, and the other is ignored.
				accept(map[string]string{scalingKey(v.name): value, scalingKey(v.alt): "nonsense"})
			}
		}
	}
	accept(map[string]string{"example.com/notes": strings.Repeat("x", 100_000)})
	accept(map[string]string{scalingKey("unheard-of"): "x", scalingKey("activationScale"): "x", "example.com/target": "x"})
	accept(map[string]string{servingv1.MetricsSourceAnnotation: "envoy", servingv1.StreamDrainAnnotation: "0"})
	accept(map[string]string{servingv1.MetricsSourceAnnotation: "queue-proxy", servingv1.StreamDrainAnnotation: "3600"})
}

// The schema's patterns accept some values that are no numbers. Such a value makes the rule fail, and the message says what is wanted.
func TestSchemaRefusesValuesThatItsPatternsAccept(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"target", "1e999", "must be a number from 0.01"},
		{"target", "1.2.3", "must be a number from 0.01"},
		{"target-burst-capacity", "1__0", "must be a number from 0, or -1"},
		{"window", "6s 1s", "must be a duration from 6s to 1h of whole seconds"},
		{"scaleDownDelay", "9999999999h", "must be a duration from 0s to 1h of whole seconds"},
		{"min-scale", strings.Repeat("9", 100_000), "must be a whole number from 0 to 2147483647"},
		{"metric", strings.Repeat("9", 100_000), "must be one that the class knows"},
	} {
		wantInvalid(t, c.name, tried(t, shared, service, map[string]string{scalingKey(c.name): c.value}), c.want)
	}
}

// The sentences are Knative's: test/oracle gets them from Knative's code.
func TestSchemaSaysKnativesSentences(t *testing.T) {
	text, err := os.ReadFile("../../autoscaler/testdata/sentences.txt")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if f[0] != "annotations" || strings.HasSuffix(f[2], `not allowed by cluster"`) { // this depends on a configuration
			continue
		}
		want, err := strconv.Unquote(f[2])
		if err != nil {
			t.Fatal(err)
		}
		annotations := map[string]string{}
		for _, s := range strings.Fields(f[1]) {
			k, v, _ := strings.Cut(s, "=")
			annotations[scalingKey(k)] = v
		}
		compared++
		got := tried(t, shared, service, annotations)
		if want == "" {
			if got != nil {
				t.Errorf("%s: %v, want it accepted", f[1], got)
			}
		} else if diff := cmp.Diff([]string{want}, sentences(t, got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f[1], diff)
		}
	}
	if compared < 45 {
		t.Errorf("compared %d sentences, want 45 or more", compared)
	}
}

func TestWrongAnnotationsOfOurOwnAreRefused(t *testing.T) {
	for key, c := range map[string]struct {
		want   string
		values []string
	}{
		servingv1.MetricsSourceAnnotation: {`annotation sluice.dev/metrics-source is %q, want queue-proxy or envoy`,
			[]string{"", "prometheus", "Envoy"}},
		servingv1.StreamDrainAnnotation: {`annotation sluice.dev/stream-drain-seconds is %q, want a whole number of seconds from 0 to 3600`,
			[]string{"", "-1", "3601", "5s", "1.5", "many", "99999999999999999999"}},
		autoscaler.Mode:       {`annotation sluice.dev/scaling is %q, want auto or observe`, []string{"", "off", "Observe"}},
		autoscaler.Predictive: {`annotation sluice.dev/predictive is %q, want off, observe or auto`, []string{"", "on", "Auto"}},
		autoscaler.PredictiveLead: {`annotation sluice.dev/predictive-lead is %q, want a duration from 1s to 1h`,
			[]string{"", "0s", "-5s", "61m", "5", "soon"}},
		autoscaler.EventIdle: {`annotation sluice.dev/event-idle-seconds is %q, want a number of seconds from 0 to 3600`,
			[]string{"", "-1", "3601", "5s", "NaN", "many"}},
		autoscaler.EventWaiting: {`annotation sluice.dev/event-max-waiting is %q, want a whole number from 1 to 1000000`,
			[]string{"", "0", "-1", "1.5", "1000001", "many", "99999999999999999999"}},
		autoscaler.ScaleOnCPU: {`annotation sluice.dev/scale-on-cpu is %q, want a number from 0.01 to 1e+09`,
			[]string{"", "-1", "0", "NaN", "Inf", "80%", "many", "1e18"}},
		autoscaler.ScaleOnMemory: {`annotation sluice.dev/scale-on-memory is %q, want a number from 0.01 to 1e+09`,
			[]string{"", "-200", "0", "nan", "200Mi", "1e18"}},
	} {
		for _, value := range c.values {
			for _, manifest := range []string{service, configuration} {
				got := sentences(t, tried(t, shared, manifest, map[string]string{key: value}))
				if diff := cmp.Diff([]string{fmt.Sprintf(c.want, value)}, got); diff != "" {
					t.Errorf("%s %q (-want +got):\n%s", key, value, diff)
				}
			}
		}
	}
}

func TestWrongScalingIsRefusedOnUpdatesToo(t *testing.T) {
	for who, s := range map[string]*Server{"autoscaler": scalingServer(t), "schema": shared} {
		c := objects(t, s, "services", "scaling-update")
		create(t, c, service)
		_, err := c.Patch(t.Context(), "hello", types.MergePatchType,
			[]byte(`{"spec":{"template":{"metadata":{"annotations":{"autoscaling.knative.dev/window":"5s"}}}}}`), metav1.PatchOptions{})
		wantInvalid(t, who, err,
			"spec.template.metadata.annotations: Invalid value: expected 6s <= 5s <= 1h0m0s: autoscaling.knative.dev/window")
	}
}

// scalingRules evaluates the rules of the template's annotations as the API server does.
func scalingRules(t *testing.T, kind string) func(annotations map[string]string) field.ErrorList {
	t.Helper()
	definitions, err := crds.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(definitions, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d.Spec.Names.Kind == kind })
	external, internal := definitions[i].Spec.Versions[0].Schema.OpenAPIV3Schema, &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(external, internal, nil); err != nil {
		t.Fatal(err)
	}
	whole, err := schema.NewStructural(internal)
	if err != nil {
		t.Fatal(err)
	}
	part := whole.Properties["spec"].Properties["template"].Properties["metadata"].Properties["annotations"]
	validator := cel.NewValidator(&part, false, celconfig.PerCallLimit)
	return func(annotations map[string]string) field.ErrorList {
		obj := map[string]any{}
		for k, v := range annotations {
			obj[k] = v
		}
		errs, left := validator.Validate(t.Context(), field.NewPath("annotations"), &part, obj, nil, celconfig.RuntimeCELCostBudget)
		if left < celconfig.RuntimeCELCostBudget/2 {
			t.Errorf("%v cost %d of %d", annotations, celconfig.RuntimeCELCostBudget-left, celconfig.RuntimeCELCostBudget)
		}
		return errs
	}
}

// anyValue returns a value that may be valid for some annotation, or one of the known values with one character changed.
func anyValue(r *rand.Rand, known []string) string {
	bound := []float64{0.01, 1, 6, 110, 1000, 3600}[r.IntN(6)]
	factor := []float64{-1, 0, 0.999, 1, 1.001, 10 * r.Float64()}[r.IntN(6)]
	number := strconv.FormatFloat(bound*factor, 'g', 6, 64)
	switch r.IntN(8) {
	case 0:
		return number
	case 1:
		return strconv.Itoa(r.IntN(12) - 2)
	case 2:
		return number + []string{"s", "m", "h", "ms", "s5", "d"}[r.IntN(6)]
	case 3:
		value := []byte(known[r.IntN(len(known))] + " ")
		value[r.IntN(len(value))] = "0123456789.+-_eExXpPsmhn "[r.IntN(25)]
		return strings.TrimSpace(string(value))
	}
	return known[r.IntN(len(known))]
}

// anyScaling returns some annotations, in either spelling, most of them with a value of their own.
func anyScaling(r *rand.Rand) map[string]string {
	annotations := map[string]string{}
	if r.IntN(4) == 0 {
		annotations[scalingKey("class")] = autoscaler.KPA
	}
	for range 1 + r.IntN(4) {
		v := scalingValue{"metric-aggregation-algorithm", "metricAggregationAlgorithm",
			[]string{"linear", "weighted-exponential", "weightedExponential"}, []string{"median"}}
		if i := r.IntN(len(scalingValues) + 1); i < len(scalingValues) {
			v = scalingValues[i]
		}
		known := v.right
		if r.IntN(6) == 0 {
			known = slices.Concat(v.wrong, scalingValues[r.IntN(len(scalingValues))].right)
		}
		key := scalingKey(v.name)
		if v.alt != "" && r.IntN(2) == 0 {
			key = scalingKey(v.alt)
		}
		annotations[key] = anyValue(r, known)
	}
	return annotations
}

func TestSchemaAndAutoscalerRefuseTheSame(t *testing.T) {
	config := autoscaler.DefaultConfig()
	config.AllowZeroInitialScale = true // since the schema does not know the configuration, it allows it
	for _, kind := range []string{servingv1.KindService, servingv1.KindConfiguration} {
		rules, r, refused := scalingRules(t, kind), rand.New(rand.NewPCG(1, 2)), 0
		const n = 5000
		for range n {
			annotations := anyScaling(r)
			want, got := autoscaler.Validate(&config, annotations), rules(annotations)
			if (want == nil) != (len(got) == 0) {
				t.Errorf("%s with %q:\nthe autoscaler says %v\nthe schema says %v", kind, annotations, want, got)
			}
			if want != nil {
				refused++
			}
		}
		if refused < n/5 || refused > n*4/5 {
			t.Errorf("%d of %d were refused: the test needs more of both", refused, n)
		}
	}
}
