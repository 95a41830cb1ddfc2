package xds

// stage is what a type is to routing: clusters and what they need are made before the routes that name them, and broken after.
type stage uint8

const (
	stageMake stage = iota
	stageRoute
)

// kind is what the order of updates depends on.
type kind struct {
	url    string // empty: every type that has no line of its own
	stage  stage
	full   bool // a state-of-the-world response holds all that the client wants of the type; absence means removal
	resend bool // what a changed resource needs is sent again after it, even if it is the same
	whole  bool // a change is one response, with what it takes away; it is never split
}

// kinds is the order in which types are sent when several are waiting; removals go in reverse. A type that waits for the
// client's acknowledgement of its last response does not hold up the others of its stage: endpoints must stay quick.
//
// Scopes are whole because a key may be in one of them only: one that moves is refused while the scope that had it stays. And a
// client serves what the first response holds; as gateways alone ask for them, messages may be large.
//
// Endpoints are sent again after their cluster because Envoy waits for them, up to 15 s, and then goes live with none.
var kinds = []*kind{
	{url: ClusterType, stage: stageMake, full: true, resend: true},
	{url: EndpointType, stage: stageMake},
	{url: SecretType, stage: stageMake},
	{stage: stageMake},
	{url: ListenerType, stage: stageRoute, full: true},
	{url: ScopedRouteType, stage: stageRoute, full: true, whole: true},
	{url: RouteType, stage: stageRoute},
}

// kindOf is the line of a type, and its rank.
func kindOf(url string) (*kind, int) {
	other := 0
	for i, k := range kinds {
		if k.url == url {
			return k, i
		}
		if k.url == "" {
			other = i
		}
	}
	return kinds[other], other
}

// step is one part of a wave: when the client has answered for all of the stage `after`, the changes of `stage` are sent.
type step struct {
	after  stage
	remove bool // send removals; else what is new or changed
	stage  stage
}

// steps is make before break. Before the first step, what is new or changed in the make stage is sent as soon as it is known;
// after the last one nothing is waited for.
var steps = []step{
	{after: stageMake, stage: stageRoute},
	{after: stageRoute, stage: stageRoute, remove: true},
	{after: stageRoute, stage: stageMake, remove: true},
}
