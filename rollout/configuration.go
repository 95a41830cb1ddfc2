package rollout

import (
	"cmp"
	"fmt"
	"strings"

	"sluice.dev/sluice/model"
)

// ConfigurationPlan is what should become of a Configuration.
type ConfigurationPlan struct {
	// Create is the name of the revision to create now from the template; empty when it exists or may not be created.
	Create string
	// NameTaken says that another revision has the name that the template asks for: it may not get the traffic.
	NameTaken bool
	// LatestCreated and LatestReady are names of revisions for the status; empty when there is none.
	LatestCreated, LatestReady string
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
	// Problems are the user's mistakes; Conditions say the same.
	Problems []model.Problem
}

// Of returns the Configuration with this plan in its status.
func (p ConfigurationPlan) Of(c *model.Configuration) *model.Configuration {
	planned := *c
	planned.Observed = c.Generation
	planned.LatestCreated, planned.LatestReady, planned.Conditions = p.LatestCreated, p.LatestReady, p.Conditions
	return &planned
}

// Configure plans a Configuration, given the revisions that it made and the one, if any, that has the name it asks for.
func Configure(c *model.Configuration, revisions []*model.Revision) ConfigurationPlan {
	plan := ConfigurationPlan{LatestCreated: c.LatestCreated, LatestReady: c.LatestReady}
	created, name, taken := latestCreated(c, revisions)
	if taken {
		ready := model.Condition{
			Type: model.Ready, Status: model.Unknown, Reason: "RevisionFailed",
			Message: fmt.Sprintf("Revision creation failed with message: revisions.serving.knative.dev %q already exists.", name),
		}
		// A name that the user chose stays taken. A generated name is free again when the revisions of a deleted Configuration are
		// deleted, too.
		if plan.NameTaken = c.RevisionName != ""; plan.NameTaken {
			ready.Status = model.False
		}
		plan.Conditions = []model.Condition{ready}
		plan.Problems = []model.Problem{problem("Configuration", c.Key, ready)}
		return plan
	}
	if created == nil {
		plan.Create = name
	}
	plan.LatestCreated = name
	plan.LatestReady = latestReady(c, created, revisions)
	plan.Conditions = []model.Condition{configurationReady(plan, created)}
	return plan
}

// Refused returns the plan when the revision that it creates is refused: a sentence says why.
func (p ConfigurationPlan) Refused(c *model.Configuration, why string) ConfigurationPlan {
	ready := model.Condition{
		Type: model.Ready, Status: model.False, Reason: "RevisionFailed",
		Message: "Revision creation failed with message: " + sentence(why),
	}
	p.Create, p.LatestCreated = "", c.LatestCreated
	p.Conditions, p.Problems = []model.Condition{ready}, []model.Problem{problem("Configuration", c.Key, ready)}
	return p
}

// latestCreated returns the revision of the present template, nil when there is none yet, with the name that it has or will have, and
// whether another object has that name.
func latestCreated(c *model.Configuration, revisions []*model.Revision) (created *model.Revision, name string, taken bool) {
	name = c.RevisionName
	if name == "" {
		if created = newest(c, revisions, c.Generation, func(*model.Revision) bool { return true }); created != nil {
			return created, created.Key.Name, false
		}
		name = RevisionName(c.Key.Name, c.Generation)
	}
	r := find(revisions, model.Key{Namespace: c.Key.Namespace, Name: name})
	switch {
	case r == nil:
		return nil, name, false
	case c.RevisionName != "" && made(c, r) && (r.Generation == c.Generation || r.Template == c.Template):
		return r, name, false
	default:
		return nil, name, true
	}
}

// latestReady returns the name of the revision that gets the Configuration's requests: the newest ready one that is not older than the
// present one. So an older revision that becomes ready late changes nothing, and neither does a newer one that fails. A revision that
// the user names counts as the newest, whatever its age.
//
// It goes back to an older revision only when the user has deleted the present one.
func latestReady(c *model.Configuration, created *model.Revision, revisions []*model.Revision) string {
	isReady := func(r *model.Revision) bool { return r.Ready.Status == model.True }
	if created != nil && isReady(created) {
		return created.Key.Name
	}
	var oldest int64
	if r := find(revisions, model.Key{Namespace: c.Key.Namespace, Name: c.LatestReady}); r != nil {
		if oldest = r.Generation; oldest == 0 {
			oldest = c.Generation
		}
	}
	if r := newest(c, revisions, oldest, isReady); r != nil {
		return r.Key.Name
	}
	return c.LatestReady
}

// newest returns the newest of the revisions that the Configuration made since a generation and that accept allows, nil when there is
// none. Of two of one generation it takes the first by name.
func newest(c *model.Configuration, revisions []*model.Revision, since int64, accept func(*model.Revision) bool) *model.Revision {
	var best *model.Revision
	for _, r := range revisions {
		if r.Generation < since || r.Generation > c.Generation || !made(c, r) || !accept(r) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(r.Generation, best.Generation), strings.Compare(best.Key.Name, r.Key.Name)) > 0 {
			best = r
		}
	}
	return best
}

// sentence returns a message of somebody else with one full stop at its end.
func sentence(message string) string { return strings.TrimSuffix(message, ".") + "." }

func configurationReady(plan ConfigurationPlan, created *model.Revision) model.Condition {
	ready := model.Condition{Type: model.Ready, Status: model.Unknown}
	switch {
	case created != nil && created.Ready.Status == model.False:
		ready.Status, ready.Reason = model.False, "RevisionFailed"
		ready.Message = fmt.Sprintf("Revision %q failed with message: %s", created.Key.Name, sentence(created.Ready.Message))
	case plan.Create == "" && plan.LatestCreated == plan.LatestReady:
		ready.Status = model.True
	}
	return ready
}

// made says whether this Configuration made the revision, and not an earlier one of the same name.
func made(c *model.Configuration, r *model.Revision) bool {
	return r.Key.Namespace == c.Key.Namespace && r.Configuration == c.Key.Name && r.Owner == c.UID
}

func find(revisions []*model.Revision, key model.Key) *model.Revision {
	for _, r := range revisions {
		if r.Key == key {
			return r
		}
	}
	return nil
}
