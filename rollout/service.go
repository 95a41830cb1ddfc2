package rollout

import "sluice.dev/sluice/model"

// ServiceInput is what the plan of a Service depends on.
type ServiceInput struct {
	Service *model.Service
	// Configuration and Route are the objects of the Service's name, nil when they do not exist.
	Configuration *model.Configuration
	Route         *model.RouteSpec
	// Revisions are those that the Configuration made, and whichever has the name that it asks for.
	Revisions []*model.Revision
}

// ServicePlan is what should become of a Service.
type ServicePlan struct {
	// KeepConfiguration and KeepRoute say that the object may not be made or changed now: it belongs to
	// somebody else, or the revision that traffic would go to is not known yet.
	KeepConfiguration, KeepRoute bool
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
	// Problems are the user's mistakes.
	Problems []model.Problem
}

// Service plans a Service, given the two objects that it owns. It is called once before they are made to follow the
// Service, for what may be changed, and with what they are afterwards, for the conditions.
func Service(in ServiceInput) ServicePlan {
	return ServicePlan{}
}
