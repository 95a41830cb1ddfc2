package rollout

import (
	"cmp"
	"fmt"
	"strings"

	"sluice.dev/sluice/model"
)

// ConfigurationPlan is what should become of a Configuration.
type ConfigurationPlan struct {
	// Create is the name of the revision to make now from the template; empty when it exists or may not be made.
	Create string
	// NameTaken says that another revision has the name that the template asks for: no traffic may be moved to it.
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

// Configure plans a Configuration, given the revisions of its namespace: those that it made, and whichever has the name that it asks for.
func Configure(c *model.Configuration, revisions []*model.Revision) ConfigurationPlan {
	plan := ConfigurationPlan{LatestCreated: c.LatestCreated, LatestReady: c.LatestReady}
	created, name, taken := latestCreated(c, revisions)
	if taken {
		ready := model.Condition{
			Type: model.Ready, Status: model.Unknown, Reason: "RevisionFailed",
			Message: fmt.Sprintf("Revision creation failed with message: revisions.serving.knative.dev %q already exists.", name),
		}
		// A name that the user chose stays taken; one that we made is free again when a Configuration that is being
		// deleted has taken its revisions with it.
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

// latestCreated returns the revision that the template of now made, or nil when there is none yet, with the name that it
// has or is to have, and whether somebody else has that name.
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

// latestReady returns the name of the revision that the Configuration's requests go to: the newest that is ready, between
// the one that it is and the newest. So an older revision that becomes ready late changes nothing, and one that fails
// leaves it where it was. A revision that the user names counts as the newest whatever its age.
//
// Only when the user has deleted the revision that it is can it go back.
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

// newest returns the newest of the revisions that the Configuration made since a generation and that are as asked, nil
// when there is none. Of two of one generation it takes the first by name.
func newest(c *model.Configuration, revisions []*model.Revision, since int64, as func(*model.Revision) bool) *model.Revision {
	var best *model.Revision
	for _, r := range revisions {
		if r.Generation < since || r.Generation > c.Generation || !made(c, r) || !as(r) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(r.Generation, best.Generation), strings.Compare(best.Key.Name, r.Key.Name)) > 0 {
			best = r
		}
	}
	return best
}

func configurationReady(plan ConfigurationPlan, created *model.Revision) model.Condition {
	ready := model.Condition{Type: model.Ready, Status: model.Unknown}
	switch {
	case created != nil && created.Ready.Status == model.False:
		ready.Status, ready.Reason = model.False, "RevisionFailed"
		ready.Message = fmt.Sprintf("Revision %q failed with message: %s.", created.Key.Name, created.Ready.Message)
	case plan.Create == "" && plan.LatestCreated == plan.LatestReady:
		ready.Status = model.True
	}
	return ready
}

// made says whether the Configuration made the revision: not another one that had the same name before.
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
