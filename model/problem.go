package model

// Ref names an object of the API.
type Ref struct {
	// Kind is Service, Configuration, Revision, Route or DomainMapping.
	Kind string
	Key  Key
}

// String returns "Kind namespace/name".
func (r Ref) String() string { return r.Kind + " " + r.Key.String() }

// Problem is a user's mistake that the translator or the data plane found. It becomes a status condition of its owner, and never affects
// other objects.
type Problem struct {
	// Owner is the object whose status shows it.
	Owner Ref
	// Reason is one word in CamelCase.
	Reason string
	// Message is a sentence that names what is wrong and what would be right.
	Message string
}

// ResourceRejected is the reason of a Problem when clients of the data plane NACK a resource of the owner. It is no user's mistake, and the
// last acknowledged version of the resource is still served.
const ResourceRejected = "ResourceRejected"

// Error makes a Problem an error.
func (p Problem) Error() string { return p.Owner.String() + ": " + p.Message + " (" + p.Reason + ")" }
