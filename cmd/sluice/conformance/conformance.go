// Package conformance checks that a server keeps KEDA's contract for external scalers, as Sluice and KEDA use it. The author of a scaler
// runs it against their own. The package must not know flags.
package conformance

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/autoscaler/external/externalscaler"
)

const (
	// Deadline is how long a call may take.
	Deadline = 5 * time.Second
	// mostMetrics is how many metrics are asked for.
	mostMetrics = 32
	// together is how many calls and streams are made at the same time.
	together = 50
)

// Outcome of a check.
type Outcome string

// The outcomes. Skipped is a part of the contract that is optional.
const (
	Passed  Outcome = "pass"
	Failed  Outcome = "FAIL"
	Skipped Outcome = "skip"
)

// Result is what became of one check.
type Result struct {
	Check   string
	Outcome Outcome
	Took    time.Duration
	// Detail is what the server answered, Remedy what to do about it; empty when there is nothing to do.
	Detail, Remedy string
}

// verdict is a Result without its name and time.
type verdict struct {
	outcome        Outcome
	detail, remedy string
}

func pass(format string, args ...any) verdict {
	return verdict{Passed, fmt.Sprintf(format, args...), ""}
}

func fail(remedy, format string, args ...any) verdict {
	return verdict{Failed, fmt.Sprintf(format, args...), remedy}
}

// run is one run of all checks.
type run struct {
	client externalscaler.ExternalScalerClient
	ref    *externalscaler.ScaledObjectRef
	active bool
	specs  []*externalscaler.MetricSpec
}

// Run checks the server of a connection with the metadata that a user would give.
func Run(ctx context.Context, conn grpc.ClientConnInterface, metadata map[string]string) []Result {
	r := &run{
		client: externalscaler.NewExternalScalerClient(conn),
		ref:    &externalscaler.ScaledObjectRef{Name: "conformance", Namespace: "default", ScalerMetadata: metadata},
	}
	var results []Result
	for _, c := range []struct {
		name string
		do   func(context.Context) verdict
	}{
		{"IsActive answers", r.isActive},
		{"GetMetricSpec names metrics and their targets", r.metricSpec},
		{"GetMetricSpec answers the same again", r.sameSpec},
		{"GetMetrics returns the value of each metric", r.values},
		{"GetMetrics refuses a metric that there is not", r.unknownMetric},
		{"further metadata do no harm", r.furtherMetadata},
		{"missing metadata are answered", r.noMetadata},
		{"StreamIsActive says at once whether it is active", r.stream},
		{"streams that end leave nothing behind", r.manyStreams},
		{"many calls at the same time are answered", r.manyCalls},
		{"a call that is cancelled does no harm", r.cancelled},
	} {
		began := time.Now()
		v := c.do(ctx)
		results = append(results, Result{c.name, v.outcome, time.Since(began), v.detail, v.remedy})
		if len(results) == 1 && v.outcome == Failed {
			return results // nothing else can be asked
		}
	}
	return results
}

// call makes a call with its deadline.
func call[T any](ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	return do(ctx)
}

func (r *run) askActive(ctx context.Context, ref *externalscaler.ScaledObjectRef) (bool, error) {
	answer, err := call(ctx, func(ctx context.Context) (*externalscaler.IsActiveResponse, error) {
		return r.client.IsActive(ctx, ref)
	})
	return answer.GetResult(), err
}

func (r *run) askSpecs(ctx context.Context) ([]*externalscaler.MetricSpec, error) {
	answer, err := call(ctx, func(ctx context.Context) (*externalscaler.GetMetricSpecResponse, error) {
		return r.client.GetMetricSpec(ctx, r.ref)
	})
	return answer.GetMetricSpecs(), err
}

func (r *run) askMetric(ctx context.Context, name string) ([]*externalscaler.MetricValue, error) {
	answer, err := call(ctx, func(ctx context.Context) (*externalscaler.GetMetricsResponse, error) {
		return r.client.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: r.ref, MetricName: name})
	})
	return answer.GetMetricValues(), err
}

func (r *run) isActive(ctx context.Context) verdict {
	active, err := r.askActive(ctx, r.ref)
	if err != nil {
		return fail("is it an external scaler, are the address and --tls right, and does it need --metadata? It has 5 s to answer",
			"%s", brief(err))
	}
	r.active = active
	return pass("active: %t", active)
}

// brief is an error of a call in short.
func brief(err error) string {
	s := status.Convert(err)
	return fmt.Sprintf("%s: %s", s.Code(), s.Message())
}

func (r *run) metricSpec(ctx context.Context) verdict {
	specs, err := r.askSpecs(ctx)
	switch {
	case err != nil:
		return fail("answer GetMetricSpec", "%s", brief(err))
	case len(specs) == 0:
		return fail("name one metric at least: without one there is a replica while it is active, and never a second", "no metric")
	case len(specs) > mostMetrics:
		return fail(fmt.Sprintf("name %d metrics at most", mostMetrics), "%d metrics", len(specs))
	}
	seen := map[string]bool{}
	text := ""
	for _, s := range specs {
		name, target := s.GetMetricName(), targetOf(s)
		switch {
		case name == "" || len(name) > 253 || seen[name]:
			return fail("give each metric a name of its own, of 1 to 253 bytes", "name %.60q", name)
		case math.IsNaN(target) || math.IsInf(target, 0) || target <= 0:
			return fail("set targetSizeFloat or targetSize to more than 0", "target of %q is %v", name, target)
		}
		seen[name] = true
		text += fmt.Sprintf(" %s at %.6g", name, target)
	}
	r.specs = specs
	return pass("%d:%s", len(specs), text)
}

func targetOf(s *externalscaler.MetricSpec) float64 {
	if f := s.GetTargetSizeFloat(); f != 0 {
		return f
	}
	return float64(s.GetTargetSize())
}

func (r *run) sameSpec(ctx context.Context) verdict {
	specs, err := r.askSpecs(ctx)
	if err != nil {
		return fail("answer GetMetricSpec", "%s", brief(err))
	}
	if !slices.EqualFunc(specs, r.specs, func(a, b *externalscaler.MetricSpec) bool {
		return a.GetMetricName() == b.GetMetricName() && targetOf(a) == targetOf(b)
	}) {
		return fail("return the same metrics and targets for the same metadata: KEDA asks once and keeps them", "another answer")
	}
	return pass("")
}

func (r *run) values(ctx context.Context) verdict {
	text := ""
	for _, s := range r.specs {
		values, err := r.askMetric(ctx, s.GetMetricName())
		if err != nil {
			return fail("answer GetMetrics for each metric of GetMetricSpec", "%s: %s", s.GetMetricName(), brief(err))
		}
		i := slices.IndexFunc(values, func(v *externalscaler.MetricValue) bool { return v.GetMetricName() == s.GetMetricName() })
		if i < 0 {
			return fail("return a value with the name that was asked for", "%d values, and none for %s", len(values), s.GetMetricName())
		}
		value := values[i].GetMetricValueFloat()
		if value == 0 {
			value = float64(values[i].GetMetricValue())
		}
		if math.IsNaN(value) || math.IsInf(value, 0) || value < 0 {
			return fail("return a finite number of 0 or more; return an error where the value is not known",
				"%s is %v", s.GetMetricName(), value)
		}
		text += fmt.Sprintf(" %s = %.6g", s.GetMetricName(), value)
	}
	if text == "" {
		return verdict{Skipped, "there is no metric to ask for", ""}
	}
	return pass("%s", text[1:])
}

func (r *run) unknownMetric(ctx context.Context) verdict {
	values, err := r.askMetric(ctx, "sluice-conformance-no-such-metric")
	switch {
	case err == nil && len(values) > 0:
		return fail("return an error, such as NOT_FOUND, for a name that GetMetricSpec does not have", "%d values", len(values))
	case status.Code(err) == codes.DeadlineExceeded || status.Code(err) == codes.Unavailable:
		return fail("return an error at once, and go on serving", "%s", brief(err))
	}
	return pass("%s", toldShort(err))
}

func toldShort(err error) string {
	if err == nil {
		return "no values"
	}
	return status.Code(err).String()
}

func (r *run) furtherMetadata(ctx context.Context) verdict {
	further := maps.Clone(r.ref.GetScalerMetadata())
	if further == nil {
		further = map[string]string{}
	}
	further["sluice.dev/conformance"] = "unknown"
	ref := &externalscaler.ScaledObjectRef{Name: r.ref.GetName(), Namespace: r.ref.GetNamespace(), ScalerMetadata: further}
	if _, err := r.askActive(ctx, ref); err != nil && status.Code(err) != codes.InvalidArgument {
		return fail("leave out metadata that you do not know, or refuse them with INVALID_ARGUMENT", "%s", brief(err))
	} else if err != nil {
		return pass("refused: %s", toldShort(err))
	}
	return pass("")
}

func (r *run) noMetadata(ctx context.Context) verdict {
	_, err := r.askActive(ctx, &externalscaler.ScaledObjectRef{Name: "conformance", Namespace: "default"})
	if code := status.Code(err); code == codes.DeadlineExceeded || code == codes.Unavailable {
		return fail("refuse missing metadata with INVALID_ARGUMENT, and go on serving", "%s", brief(err))
	}
	if v := r.alive(ctx); v.outcome == Failed {
		return v
	}
	if err != nil {
		return pass("refused: %s", toldShort(err))
	}
	return pass("")
}

// alive asks whether it still answers.
func (r *run) alive(ctx context.Context) verdict {
	if _, err := r.askActive(ctx, r.ref); err != nil {
		return fail("go on serving afterwards", "then IsActive failed with %s", brief(err))
	}
	return pass("")
}

func (r *run) stream(ctx context.Context) verdict {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	stream, err := r.client.StreamIsActive(ctx, r.ref)
	var first *externalscaler.IsActiveResponse
	if err == nil {
		first, err = stream.Recv()
	}
	switch status.Code(err) {
	case codes.OK:
		return pass("active: %t", first.GetResult())
	case codes.Unimplemented:
		return verdict{Skipped, "not implemented: it is asked every pollingSeconds, and a start from zero waits for that", ""}
	case codes.DeadlineExceeded:
		return verdict{Failed, "no answer within 5 s", "send the state of now when the stream opens, and each change afterwards"}
	}
	return fail("keep the stream open until the client ends it", "%s", brief(err))
}

func (r *run) manyStreams(ctx context.Context) verdict {
	var all sync.WaitGroup
	opened, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	for range together {
		all.Go(func() {
			if stream, err := r.client.StreamIsActive(opened, r.ref); err == nil {
				_, _ = stream.Recv()
				_ = stream.CloseSend()
			}
		})
	}
	all.Wait()
	cancel()
	if v := r.alive(ctx); v.outcome == Failed {
		return v
	}
	return pass("%d streams were opened and cancelled", together)
}

func (r *run) manyCalls(ctx context.Context) verdict {
	errs := make([]error, together)
	var all sync.WaitGroup
	for i := range together {
		all.Go(func() { _, errs[i] = r.askActive(ctx, r.ref) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return fail("answer calls side by side: Sluice shares a connection among scalers", "one of %d: %s", together, brief(err))
		}
	}
	return pass("%d calls", together)
}

func (r *run) cancelled(ctx context.Context) verdict {
	short, cancel := context.WithCancel(ctx)
	cancel()
	_, _ = r.client.IsActive(short, r.ref)
	return r.alive(ctx)
}
