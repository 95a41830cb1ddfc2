package external

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/autoscaler/external/externalscaler"
	"sluice.dev/sluice/model"
)

const (
	// callTimeout bounds one call.
	callTimeout = 5 * time.Second
	// mostMetrics is how many metrics an external scaler may have.
	mostMetrics = 32
	// mostName bounds the name of a metric, in bytes.
	mostName = 253
)

// source is something that can be asked for figures.
type source interface {
	// read asks for the figures of now.
	read(ctx context.Context) (reading, error)
	// watch calls pushed whenever the source says by itself whether it is active, until the context or the stream ends.
	watch(ctx context.Context, pushed func(active bool)) error
	close()
}

// errNoPush says that a source pushes nothing.
var errNoPush = errors.New("it pushes nothing")

// keda is a server of KEDA's contract.
type keda struct {
	client externalscaler.ExternalScalerClient
	ref    *externalscaler.ScaledObjectRef
	target float64 // in place of the server's; 0: the server's
	done   func()
}

func newKeda(conn *grpc.ClientConn, s *model.Scaler, done func()) *keda {
	return &keda{
		client: externalscaler.NewExternalScalerClient(conn), target: s.Target, done: done,
		ref: &externalscaler.ScaledObjectRef{Name: s.Key.Name, Namespace: s.Key.Namespace, ScalerMetadata: s.External.Metadata},
	}
}

func (k *keda) close() { k.done() }

func (k *keda) read(ctx context.Context) (reading, error) {
	active, err := call(ctx, "IsActive", func(ctx context.Context) (*externalscaler.IsActiveResponse, error) {
		return k.client.IsActive(ctx, k.ref)
	})
	if err != nil || !active.GetResult() {
		return reading{}, err
	}
	specs, err := call(ctx, "GetMetricSpec", func(ctx context.Context) (*externalscaler.GetMetricSpecResponse, error) {
		return k.client.GetMetricSpec(ctx, k.ref)
	})
	if err != nil {
		return reading{}, err
	}
	if err := checkSpecs(specs.GetMetricSpecs()); err != nil {
		return reading{}, err
	}
	r := reading{active: true}
	for _, spec := range specs.GetMetricSpecs() {
		m := model.ScalerMetric{Name: foreign(spec.GetMetricName()), Target: cmp.Or(k.target, targetOf(spec))}
		if m.Value, err = k.value(ctx, spec.GetMetricName()); err != nil {
			return reading{}, err
		}
		r.metrics = append(r.metrics, m)
	}
	return r, nil
}

// checkSpecs finds lists of metrics that cannot be asked for.
func checkSpecs(specs []*externalscaler.MetricSpec) error {
	if len(specs) > mostMetrics {
		return fmt.Errorf("GetMetricSpec returned %d metrics, want %d at most", len(specs), mostMetrics)
	}
	for _, s := range specs {
		if n := len(s.GetMetricName()); n == 0 || n > mostName {
			return fmt.Errorf("GetMetricSpec returned a metric with a name of %d bytes, want 1 to %d", n, mostName)
		}
	}
	return nil
}

// targetOf and valueOf take the number with a fraction where there is one, as KEDA does.
func targetOf(s *externalscaler.MetricSpec) float64 {
	return cmp.Or(s.GetTargetSizeFloat(), float64(s.GetTargetSize()))
}

func valueOf(v *externalscaler.MetricValue) float64 {
	return cmp.Or(v.GetMetricValueFloat(), float64(v.GetMetricValue()))
}

// value asks for one metric. The answer is the value of that name; KEDA takes the first one, whatever its name is, and so does this where
// there is only one.
func (k *keda) value(ctx context.Context, metric string) (float64, error) {
	answer, err := call(ctx, "GetMetrics", func(ctx context.Context) (*externalscaler.GetMetricsResponse, error) {
		return k.client.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: k.ref, MetricName: metric})
	})
	if err != nil {
		return 0, err
	}
	values := answer.GetMetricValues()
	for _, v := range values {
		if v.GetMetricName() == metric {
			return valueOf(v), nil
		}
	}
	if len(values) == 1 {
		return valueOf(values[0]), nil
	}
	return 0, fmt.Errorf("GetMetrics returned %d values, and none for %s", len(values), foreign(metric))
}

// watch reads StreamIsActive. A server without it answers Unimplemented.
func (k *keda) watch(ctx context.Context, pushed func(bool)) error {
	stream, err := k.client.StreamIsActive(ctx, k.ref)
	if err != nil {
		return inWords("StreamIsActive", err)
	}
	for {
		answer, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the server ended StreamIsActive")
		case status.Code(err) == codes.Unimplemented:
			return errNoPush
		case err != nil:
			return inWords("StreamIsActive", err)
		}
		pushed(answer.GetResult())
	}
}

// call makes one call with a bound on its time.
func call[T any](ctx context.Context, method string, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := do(ctx)
	if err != nil {
		return answer, inWords(method, err)
	}
	return answer, nil
}

// inWords is the error of a call, with what the server says.
func inWords(method string, err error) error {
	s, ok := status.FromError(err)
	switch {
	case !ok:
		return fmt.Errorf("%s failed: %s", method, foreign(err.Error()))
	case s.Code() == codes.DeadlineExceeded:
		return fmt.Errorf("%s did not answer within %v", method, callTimeout)
	case s.Code() == codes.ResourceExhausted:
		return fmt.Errorf("%s answered too much, or is overloaded: %s", method, foreign(s.Message()))
	}
	return fmt.Errorf("%s failed with %s: %s", method, s.Code(), foreign(s.Message()))
}
