package resource

// Stage is when a type is sent. Make before break: clusters and what they need are sent before the routes that name them, and
// removed after those routes.
type Stage uint8

// The stages.
const (
	StageMake Stage = iota
	StageRoute
)

// Kind is what the order of updates depends on.
type Kind struct {
	URL    string // empty: every type that has no entry of its own
	Stage  Stage
	Full   bool // a state-of-the-world response holds all resources of the type that the client subscribes to; absence means removal
	Resend bool // after a changed resource, the server sends what it needs again, even if that is the same
	Whole  bool // the server sends a change together with its removals as one response, which it never splits
}

// Kinds is the order in which the server sends types when several are pending. It sends removals in reverse. A type that waits for
// the client's answer does not hold up the other types of its stage, because endpoints must reach the client quickly.
//
// Scopes are Whole because two scopes may not have the same key: if a key moves, the client NACKs the new scope while it has the
// old one. A client also serves requests as soon as it has the first response. Only gateways subscribe to scopes, and they take
// large messages.
//
// Endpoints follow their cluster because Envoy waits up to 15 s for them, and then uses the cluster without any.
var Kinds = []*Kind{
	{URL: ClusterType, Stage: StageMake, Full: true, Resend: true},
	{URL: EndpointType, Stage: StageMake},
	{URL: SecretType, Stage: StageMake},
	{Stage: StageMake},
	{URL: ListenerType, Stage: StageRoute, Full: true},
	{URL: ScopedRouteType, Stage: StageRoute, Full: true, Whole: true},
	{URL: RouteType, Stage: StageRoute},
}

// KindOf is the entry of a type in Kinds, and its rank there.
func KindOf(url string) (*Kind, int) {
	other := 0
	for i, k := range Kinds {
		if k.URL == url {
			return k, i
		}
		if k.URL == "" {
			other = i
		}
	}
	return Kinds[other], other
}

// Step is one part of a wave: when the client has answered for all of the stage After, the server sends the changes of Stage.
type Step struct {
	After  Stage
	Remove bool // send removals; else send what is new or changed
	Stage  Stage
}

// Steps is make before break. The server sends what is new or changed in the make stage before the first step, as soon as it is
// known. It waits for nothing after the last step.
var Steps = []Step{
	{After: StageMake, Stage: StageRoute},
	{After: StageRoute, Stage: StageRoute, Remove: true},
	{After: StageRoute, Stage: StageMake, Remove: true},
}
