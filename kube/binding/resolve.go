package binding

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/model"
)

const conditionReady = "Ready"

// Reasons of the condition Ready.
const (
	ReasonFollowed        = "Followed"        // there are figures, and revisions that follow them
	ReasonNotAskedYet     = "NotAskedYet"     // there is no answer yet
	ReasonNoRevision      = "NoRevision"      // no Service is there, or no Route names a revision of one
	ReasonNoService       = "NoService"       // a Service that is named is not there
	ReasonScalerFailed    = "ScalerFailed"    // the source gives no figures
	ReasonInvalidSelector = "InvalidSelector" // the selector cannot be read
	ReasonInvalidTarget   = "InvalidTarget"   // the target cannot be scaled by
	ReasonNoSecret        = "SecretNotUsable" // the Secret is missing or wrong
	ReasonInvalidTLS      = "InvalidTLS"      // certificates cannot be used
)

// problem is why a binding cannot be followed, or not wholly.
type problem struct {
	Reason, Message string
	partly          bool // there are figures all the same
	again           bool // it may be over without an event
}

func sortNamed(all []model.Named) {
	slices.SortFunc(all, func(a, b model.Named) int { return a.Revision.Compare(b.Revision) })
}

// resolve returns the Scaler of a binding, or what is wrong with it.
func (c *Controller) resolve(ctx context.Context, b *autoscalingv1alpha1.ScalerBinding) (s model.Scaler, p problem, err error) {
	spec := &b.Spec
	s = model.Scaler{
		Key: model.Key{Namespace: b.Namespace, Name: b.Name}, Type: model.MetricType(cmp.Or(spec.MetricType, string(model.AverageValue))),
		Every: seconds(cmp.Or(spec.PollingSeconds, 30)), Hold: 5 * time.Minute, Most: int(cmp.Or(spec.MaxReplicas, 100)),
	}
	if w := spec.StabilizationWindowSeconds; w != nil {
		s.Hold = seconds(*w)
	}
	if f := spec.Fallback; f != nil {
		s.Fallback = model.Fallback{Failures: int(f.FailureThreshold), Replicas: min(int(f.Replicas), s.Most)}
	}
	if spec.Selector != nil {
		if _, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
			return s, problem{Reason: ReasonInvalidSelector, Message: fmt.Sprintf("The selector cannot be used: %v.", err)}, nil
		}
	}
	if spec.TargetValue != nil {
		if s.Target = spec.TargetValue.AsApproximateFloat64(); s.Target <= 0 {
			p = problem{Reason: ReasonInvalidTarget, Message: fmt.Sprintf("targetValue is %s, want more than 0.", spec.TargetValue)}
			return s, p, nil
		}
	}
	var missing []string
	if s.Revisions, missing, err = c.revisions(ctx, b); err != nil {
		return s, p, err
	}
	if p, err = c.source(ctx, b, &s); p.Reason != "" || err != nil {
		s.Problem = p.Message
		return s, p, err
	}
	switch {
	case len(missing) > 0:
		p = problem{Reason: ReasonNoService, partly: true,
			Message: fmt.Sprintf("There is no Service %s in the namespace %q.", strings.Join(missing, ", "), b.Namespace)}
	case len(s.Revisions) == 0:
		p = problem{Reason: ReasonNoRevision, partly: true, Message: "No Service is selected that has a revision which a Route names."}
	}
	return s, p, nil
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// source fills in where the figures come from.
func (c *Controller) source(ctx context.Context, b *autoscalingv1alpha1.ScalerBinding, s *model.Scaler) (problem, error) {
	var p problem
	var with model.ClientTLS
	var err error
	switch spec := &b.Spec; {
	case spec.External != nil:
		with, p, err = c.tls(ctx, b.Namespace, spec.External.TLS)
		s.External = &model.ExternalScaler{Address: spec.External.Address, Metadata: spec.External.Metadata, TLS: with}
	case spec.Prometheus != nil:
		with, p, err = c.tls(ctx, b.Namespace, spec.Prometheus.TLS)
		s.Prometheus = &model.PrometheusQuery{Address: spec.Prometheus.Address, Query: spec.Prometheus.Query, TLS: with}
	}
	return p, err
}

// tls returns the certificates of a connection.
func (c *Controller) tls(ctx context.Context, namespace string,
	t *autoscalingv1alpha1.ScalerTLS) (with model.ClientTLS, p problem, err error) {
	if t == nil {
		return with, p, nil
	}
	with = model.ClientTLS{Plaintext: t.Mode == "Plaintext", CA: t.CABundle, ServerName: t.ServerName}
	if t.SecretName != "" {
		if p, err = c.certificate(ctx, namespace, t.SecretName, &with); p.Reason != "" || err != nil {
			return with, p, err
		}
	}
	if wrong := c.options.CheckTLS(with); wrong != "" {
		p = problem{Reason: ReasonInvalidTLS, Message: "TLS cannot be used: " + wrong + ".", again: t.SecretName != ""}
	}
	return with, p, nil
}

// certificate reads the client's certificate from a Secret. Nothing of its content is in a sentence.
func (c *Controller) certificate(ctx context.Context, namespace, name string, into *model.ClientTLS) (problem, error) {
	wrong := func(format string, args ...any) problem {
		return problem{Reason: ReasonNoSecret, Message: fmt.Sprintf(format, args...), again: true}
	}
	if !c.options.Secrets {
		return wrong("Secrets cannot be read here: this API server has none. Leave out tls.secretName."), nil
	}
	secret := &corev1.Secret{}
	err := c.direct.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return wrong("There is no Secret %q in the namespace %q.", name, namespace), nil
	case apierrors.IsForbidden(err):
		return wrong("The controller may not read Secret %q: allow its service account to get it with a Role in the namespace %q.",
			name, namespace), nil
	case err != nil:
		return problem{}, fmt.Errorf("reading the Secret %s/%s: %w", namespace, name, err)
	case secret.Type != corev1.SecretTypeTLS:
		return wrong("Secret %q is of the type %q, want %s.", name, secret.Type, corev1.SecretTypeTLS), nil
	}
	into.Chain, into.Key = string(secret.Data[corev1.TLSCertKey]), string(secret.Data[corev1.TLSPrivateKeyKey])
	if into.CA == "" {
		into.CA = string(secret.Data[corev1.ServiceAccountRootCAKey])
	}
	return problem{}, nil
}

// describe fills in the status of a binding.
func describe(b *autoscalingv1alpha1.ScalerBinding, s *model.Scaler, said *model.ScalerStatus, p problem) {
	status := &b.Status
	status.ObservedGeneration = b.Generation
	status.Revisions = nil
	for _, r := range s.Revisions {
		status.Revisions = append(status.Revisions, r.Revision.Name)
	}
	status.Active, status.ActiveChanged, status.Replicas, status.Metrics = nil, nil, nil, nil
	followed := p.Reason == "" || p.partly
	if followed && said.Known {
		status.Active, status.ActiveChanged = new(said.Active), new(metav1.NewTime(said.Since.Truncate(time.Second)))
		for _, m := range said.Metrics {
			status.Metrics = append(status.Metrics, autoscalingv1alpha1.MetricStatus{
				Name: m.Name, Value: decimal(m.Value), Target: decimal(m.Target),
			})
		}
	}
	if followed && said.Replicas >= 0 && said.Known {
		status.Replicas = new(int32(said.Replicas)) //nolint:gosec // a count of replicas
	}
	condition := ready(said, p)
	condition.ObservedGeneration = b.Generation
	meta.SetStatusCondition(&status.Conditions, condition)
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// ready returns the condition Ready.
func ready(said *model.ScalerStatus, p problem) metav1.Condition {
	c := metav1.Condition{Type: conditionReady, Status: metav1.ConditionFalse, Reason: p.Reason, Message: p.Message}
	switch {
	case p.Reason != "" && !p.partly:
	case said.Problem != "":
		c.Reason, c.Message = ReasonScalerFailed, "There are no figures: "+said.Problem+"."
		if said.FellBack {
			c.Message += " The fallback counts."
		}
	case p.Reason != "":
	case !said.Known:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, ReasonNotAskedYet, "There is no answer yet."
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, ReasonFollowed, "The revisions follow the figures."
	}
	return c
}
