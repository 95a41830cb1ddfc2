package rollout

import (
	"reflect"
	"time"

	"sluice.dev/sluice/model"
)

// RouteInput is what the plan of a Route depends on.
type RouteInput struct {
	Route *model.RouteSpec
	// Configurations and Revisions are of the Route's namespace: at least those that its spec, its status and its Rollout
	// name; others do no harm.
	Configurations []*model.Configuration
	Revisions      []*model.Revision
	// Current are the Rules of the plan before this one, nil when it is not known (after a restart).
	Current []model.Rule
	// Programmed says that the data plane has acknowledged Current.
	Programmed bool
	Now        time.Time
	Options    Options
}

// RoutePlan is what should become of a Route.
type RoutePlan struct {
	// Rules are served by the data plane. While a target is bad, they are those of the split before.
	Rules []model.Rule
	// Traffic is the same split for the status, in the order of the spec.
	Traffic []model.Target
	// Placeholders are the names within the cluster, of the Route itself first. While a target is bad, they are of both splits.
	Placeholders []Placeholder
	// URL and Address are the URLs from outside and within the cluster.
	URL, Address string
	// Rollout is the state of gradual rollouts, to be stored beside Traffic and passed in again as RouteSpec.Rollout.
	Rollout string
	// Again is after what time the next step of a rollout is due; 0 means never.
	Again time.Duration
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
	// Problems are the user's mistakes; Conditions say the same.
	Problems []model.Problem
}

// Route plans a Route: it resolves targets to revisions, and computes hosts. When one target cannot be served, the whole Route keeps the
// split before.
func Route(in RouteInput) RoutePlan {
	prev := parseGradual(in.Route.Rollout)
	r := newResolver(in, prev)
	targets, bad := r.resolve()
	if bad == nil {
		bad = in.Options.unnameable(in.Route)
	}
	plan := RoutePlan{Rollout: in.Route.Rollout, Address: in.Options.address(in.Route)}
	var s split
	state := prev
	if bad != nil {
		s = keptSplit(r, prev)
	} else {
		state, plan.Again = goalOf(targets).advance(prev, ramp{
			now: time.Duration(in.Now.UnixNano()), duration: in.Options.DurationOf(in.Route).Truncate(time.Second),
			programmed: in.Programmed, alive: r.alive,
		})
		s = splitOf(in.Route, targets, state)
		plan.Rollout = state.String()
	}
	plan.Traffic = s.traffic
	plan.Placeholders = in.Options.Placeholders(in.Route, in.Route.Traffic, plan.Traffic)
	plan.Rules = in.Options.rules(in.Route, s)
	if h, err := in.Options.hostsOf(in.Route, ""); err == nil {
		plan.URL = h.url
	}
	if bad == nil {
		in.Options.tagURLs(in.Route, plan.Traffic)
	}
	plan.Conditions = Conclude(
		assigned(bad), in.programmed(plan.Rules, bad == nil, state.underWay()), in.Options.certificate(in.Route))
	if bad != nil && bad.Status == model.False {
		plan.Problems = []model.Problem{problem("Route", in.Route.Key, *bad)}
	}
	return plan
}

// rules returns the virtual hosts: the default one first, then one per tag. A tag that cannot be part of a host name has none.
func (o Options) rules(route *model.RouteSpec, s split) []model.Rule {
	rules := make([]model.Rule, 0, 1+len(s.tags))
	add := func(tag string) {
		if h, err := o.hostsOf(route, tag); err == nil {
			rule := model.Rule{Tag: tag, Hosts: h.external, LocalHosts: h.local, Shares: s.groups[tag]}
			if len(rule.Hosts) > 0 {
				rule.HTTP = o.httpOf(route.HTTP)
			}
			rules = append(rules, rule)
		}
	}
	add("")
	if len(rules) == 1 {
		rules[0].TagHeader = s.tags
	}
	for _, t := range s.tags {
		add(t.Tag)
	}
	return rules
}

// tagURLs writes the URLs of tagged targets into traffic.
func (o Options) tagURLs(route *model.RouteSpec, traffic []model.Target) {
	for i := range traffic {
		if tag := traffic[i].Tag; tag != "" {
			h, _ := o.hostsOf(route, tag)
			traffic[i].URL = h.url
		}
	}
}

// httpOf is the option of a Route or DomainMapping that asks for own, or for nothing.
func (o Options) httpOf(own *model.HTTPOption) model.HTTPOption {
	if own != nil {
		return *own
	}
	return o.HTTP
}

// unnameable returns a condition when a host of the Route would not be a host name.
func (o Options) unnameable(route *model.RouteSpec) *model.Condition {
	_, err := o.hostsOf(route, "")
	for _, t := range route.Traffic {
		if err == nil && t.Tag != "" {
			_, err = o.hostsOf(route, t.Tag)
		}
	}
	if err == nil {
		return nil
	}
	return unassigned(model.False, "ErrorConfig", "%s", err)
}

func assigned(bad *model.Condition) model.Condition {
	if bad != nil {
		return *bad
	}
	return model.Condition{Type: model.AllTrafficAssigned, Status: model.True}
}

// programmed says whether the data plane serves the rules.
func (in RouteInput) programmed(rules []model.Rule, resolved, underWay bool) model.Condition {
	before := model.FindCondition(in.Route.Conditions, model.IngressReady)
	observed := in.Route.Observed == in.Route.Generation
	c := model.Condition{Type: model.IngressReady, Status: model.Unknown}
	switch {
	case !resolved && observed && before.Status != "":
		return before
	case !resolved:
		c.Reason, c.Message = "IngressNotConfigured", "Ingress has not yet been reconciled."
	case underWay:
		c.Reason, c.Message = "RolloutInProgress", "A gradual rollout of the latest revision(s) is in progress."
	case in.Programmed && reflect.DeepEqual(in.Current, rules), in.restarted(rules, before):
		c.Status = model.True
	default:
		c.Reason, c.Message = "Uninitialized", "Waiting for load balancer to be ready"
	}
	return c
}

// restarted says that this process has just started and plans the rules that were served before, which the data plane still serves.
func (in RouteInput) restarted(rules []model.Rule, before model.Condition) bool {
	if in.Current != nil || before.Status != model.True {
		return false
	}
	return reflect.DeepEqual(in.Options.rules(in.Route, in.servedSplit()), rules)
}

func (in RouteInput) servedSplit() split {
	prev := parseGradual(in.Route.Rollout)
	return keptSplit(newResolver(in, prev), prev)
}

// certificate returns the condition CertificateProvisioned: certificates belong to the gateway, not to a Route.
func (o Options) certificate(route *model.RouteSpec) model.Condition {
	message := notEnabled
	if o.isLocal(route, "") {
		message = "TLS is not enabled for cluster-local"
	}
	return model.Condition{Type: model.CertificateProvisioned, Status: model.True, Reason: "TLSNotEnabled", Message: message}
}

// notEnabled says that no certificate is made for a host.
const notEnabled = "external-domain-tls is not enabled"
