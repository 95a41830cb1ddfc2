package model

import "time"

// Mapping is a DomainMapping of the API, as written, with its status: another host for a Service or Route.
type Mapping struct {
	// Key has the domain as its name.
	Key Key
	UID string
	// Generation counts the changes of the spec; Observed is the one that the status speaks of.
	Generation, Observed int64
	Created              time.Time
	// Target is what gets the requests, and Group the API group of its kind.
	Target Ref
	Group  string
	// Secret is the name of the Secret with the domain's certificate; empty for none.
	Secret string
	// HTTP says what becomes of requests without TLS; nil means the default of the installation.
	HTTP *HTTPOption
	// Conditions are those of the status.
	Conditions []Condition
}
