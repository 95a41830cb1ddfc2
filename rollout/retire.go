package rollout

import (
	"time"

	"sluice.dev/sluice/model"
)

// Retire returns those of a Configuration's revisions that are to be deleted, oldest first, by the rules of retention.
// Revisions that a Route names, the latest ready one and preserved ones always stay.
func Retire(c *model.Configuration, revisions []*model.Revision, rules Retention, now time.Time) []*model.Revision {
	return nil
}
