package model

// Ref names an object of the API.
type Ref struct {
	// Kind is Service, Configuration, Revision or Route.
	Kind string
	Key  Key
}

// String returns "Kind namespace/name".
func (r Ref) String() string { return r.Kind + " " + r.Key.String() }

// Problem is a user's mistake that something downstream found. It never stops the rest: it becomes a status
// condition of its owner.
type Problem struct {
	// Owner is the object whose status shows it.
	Owner Ref
	// Reason is one word in CamelCase.
	Reason string
	// Message is a sentence that names what is wrong and what would be right.
	Message string
}

// ResourceRefused is the reason of a Problem that clients of the data plane refuse what the owner became. It is no user's mistake,
// and what was in force before is served still.
const ResourceRefused = "ResourceRefused"

// Error makes a Problem printable where an error is expected.
func (p Problem) Error() string { return p.Owner.String() + ": " + p.Message + " (" + p.Reason + ")" }
