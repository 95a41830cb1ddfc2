package rollout

import (
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// Conclude returns the conditions sorted by type, with Ready as it follows from them: False like the first that is False, else Unknown
// like the first that is Unknown, else True. Conditions of SeverityInfo do not count. Of several conditions of one type the last
// counts, so that a later finding can be appended.
func Conclude(conditions ...model.Condition) []model.Condition {
	out := make([]model.Condition, 0, len(conditions)+1)
	for i, c := range conditions {
		later := slices.ContainsFunc(conditions[i+1:], func(d model.Condition) bool { return d.Type == c.Type })
		if c.Type != model.Ready && !later {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b model.Condition) int { return strings.Compare(a.Type, b.Type) })
	ready := model.Condition{Type: model.Ready, Status: model.True}
	for _, status := range []model.Status{model.False, model.Unknown} {
		i := slices.IndexFunc(out, func(c model.Condition) bool { return c.Status == status && c.Severity != model.SeverityInfo })
		if i >= 0 {
			ready.Status, ready.Reason, ready.Message = status, out[i].Reason, out[i].Message
			break
		}
	}
	at, _ := slices.BinarySearchFunc(out, model.Ready, func(c model.Condition, kind string) int { return strings.Compare(c.Type, kind) })
	return slices.Insert(out, at, ready)
}

// as returns c under another type, without its reason when it is True, and Unknown when c is the zero Condition.
func as(kind string, c model.Condition) model.Condition {
	switch c.Status {
	case model.True:
		return model.Condition{Type: kind, Status: model.True}
	case model.False, model.Unknown:
		return model.Condition{Type: kind, Status: c.Status, Reason: c.Reason, Message: c.Message}
	default:
		return model.Condition{Type: kind, Status: model.Unknown}
	}
}

// problem returns the Problem of a condition that reports a user's mistake.
func problem(kind string, key model.Key, c model.Condition) model.Problem {
	return model.Problem{Owner: model.Ref{Kind: kind, Key: key}, Reason: c.Reason, Message: c.Message}
}

// shownBy are the conditions that show a problem that the translator or the data plane found, by the kind of its owner.
var shownBy = map[string]string{
	"Service":       model.RoutesReady,
	"Configuration": model.Ready,
	"Route":         model.IngressReady,
	"Revision":      model.ResourcesAvailable,
	"DomainMapping": model.IngressReady,
}

// WithProblem returns the conditions of an object with one of its problems in them, such as a host that another Route has.
func WithProblem(conditions []model.Condition, p model.Problem) []model.Condition {
	c := model.Condition{Type: shownBy[p.Owner.Kind], Status: model.False, Reason: p.Reason, Message: p.Message}
	if c.Type == model.Ready || c.Type == "" {
		c.Type = model.Ready
		return []model.Condition{c}
	}
	return Conclude(append(slices.Clone(conditions), c)...)
}
