package explain

import (
	"strings"

	"sluice.dev/sluice/model"
)

// remedies say what to do about a reason of a condition. A reason that ends in * stands for all with that beginning. KEY and NAMESPACE are
// those of the object with the condition.
var remedies = []struct {
	reasons []string
	text    string
}{
	{[]string{"CommandNotFound", "CommandNotExecutable", "WorkingDirMissing", "ContainerMissing"},
		"Correct the container in the template and apply it again: that makes a new revision"},
	{[]string{"ExitCode*"},
		"Read what it printed (.sluice/logs/KEY on one machine), correct it and apply it again: that makes a new revision"},
	{[]string{"ImagePull*", "ErrImagePull", "InvalidImageName"},
		"Correct the image in the template and apply it again: that makes a new revision"},
	{[]string{"ProgressDeadlineExceeded"},
		"Have the container listen on $PORT, or give it more time with the annotation serving.knative.dev/progress-deadline"},
	{[]string{"InvalidAnnotation"}, "Correct the annotation and apply it again"},
	{[]string{"RevisionMissing", "ConfigurationMissing", "RevisionNotOwned"},
		"Correct spec.traffic; to list the revisions: kubectl get revisions -n NAMESPACE"},
	{[]string{"RevisionFailed", "RevisionNameTaken"}, "Give the template another name, or none"},
	{[]string{domainConflict}, "Give the younger one another name or tag, or delete the other"},
	{[]string{model.ResourceRejected}, "Change what the client's text names, or update that client"},
}

// remedy returns what to do about a reason; the key is that of the object with the condition.
func remedy(reason string, key model.Key) string {
	fill := strings.NewReplacer("KEY", key.String(), "NAMESPACE", key.Namespace)
	for _, r := range remedies {
		for _, known := range r.reasons {
			if beginning, all := strings.CutSuffix(known, "*"); known == reason || all && strings.HasPrefix(reason, beginning) {
				return fill.Replace(r.text)
			}
		}
	}
	return fill.Replace("See the conditions (kubectl get ksvc,rt,rev -n NAMESPACE -o yaml), and what the control plane logs")
}
