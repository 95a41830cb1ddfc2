package model

// Status is what a Condition says: True, False or Unknown.
type Status string

// The three values of a Status.
const (
	True    Status = "True"
	False   Status = "False"
	Unknown Status = "Unknown"
)

// Severity says whether Ready depends on a Condition: it does when the Severity is empty.
type Severity string

// SeverityInfo marks a Condition that Ready does not depend on, such as Active.
const SeverityInfo Severity = "Info"

// Types of conditions, as Knative names them.
const (
	// Ready is of every kind; it follows from the other conditions of the same object.
	Ready = "Ready"
	// ConfigurationsReady and RoutesReady are a Service's.
	ConfigurationsReady = "ConfigurationsReady"
	RoutesReady         = "RoutesReady"
	// AllTrafficAssigned, IngressReady and CertificateProvisioned are a Route's.
	AllTrafficAssigned     = "AllTrafficAssigned"
	IngressReady           = "IngressReady"
	CertificateProvisioned = "CertificateProvisioned"
	// ResourcesAvailable, ContainerHealthy and Active are a Revision's; Active only informs.
	ResourcesAvailable = "ResourcesAvailable"
	ContainerHealthy   = "ContainerHealthy"
	Active             = "Active"
	// DomainClaimed and ReferenceResolved are a DomainMapping's, besides IngressReady and CertificateProvisioned.
	DomainClaimed     = "DomainClaimed"
	ReferenceResolved = "ReferenceResolved"
)

// Condition is one entry of an object's status. The time of its last transition is not part of it: the writer of the status has that.
type Condition struct {
	// Type is Ready or one of the other constants.
	Type   string
	Status Status
	// Reason is one word in CamelCase; Message is a sentence. Both are empty when there is nothing to say.
	Reason, Message string
	Severity        Severity
}

// FindCondition returns the condition of that type. The zero Condition, whose Status is empty, means that there is none.
func FindCondition(conditions []Condition, kind string) Condition {
	for _, c := range conditions {
		if c.Type == kind {
			return c
		}
	}
	return Condition{}
}
