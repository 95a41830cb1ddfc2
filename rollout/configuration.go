package rollout

import "sluice.dev/sluice/model"

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
	// Problems are the user's mistakes.
	Problems []model.Problem
}

// Configure plans a Configuration, given the revisions of its namespace: those that it made, and whichever has the name that it asks for.
func Configure(c *model.Configuration, revisions []*model.Revision) ConfigurationPlan {
	return ConfigurationPlan{}
}
