package rollout

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
)

// gradual is the state of all gradual rollouts of a Route. Its JSON has the form of Knative's annotation
// networking.internal.knative.dev/rollout.
type gradual struct {
	// Configurations are sorted by tag, then by configuration.
	Configurations []*shift `json:"configurations,omitempty"`
}

// shift is how the requests to one Configuration under one tag move to its newest revision.
type shift struct {
	Configuration string `json:"configurationName"`
	Tag           string `json:"tag,omitempty"`
	// Percent is the Configuration's share of the requests of the tag, and the sum of the percents of Revisions.
	Percent int `json:"percent"`
	// Revisions are sorted from the oldest to the newest, which has all requests in the end. More than one are a rollout under way.
	Revisions []portion `json:"revisions,omitempty"`
	Step      step      `json:"stepParams"`
}

type portion struct {
	Revision string `json:"revisionName"`
	Percent  int    `json:"percent"`
}

// step is when and how far a rollout moves; times are nanoseconds. Until the data plane has acknowledged the first percent, only Start
// is set.
type step struct {
	Start    int64 `json:"starttime,omitempty"`
	Next     int64 `json:"nextStepTime,omitempty"`
	Duration int64 `json:"stepDuration,omitempty"`
	Size     int   `json:"stepSize,omitempty"`
}

// parseGradual reads a stored state. A corrupt or contradictory one counts as none.
func parseGradual(s string) *gradual {
	var g gradual
	if s == "" || json.Unmarshal([]byte(s), &g) != nil {
		return &gradual{}
	}
	for i, c := range g.Configurations {
		twice := c != nil && slices.ContainsFunc(g.Configurations[:i], func(d *shift) bool {
			return d.Tag == c.Tag && d.Configuration == c.Configuration
		})
		if c == nil || twice || !c.valid() {
			return &gradual{}
		}
	}
	return &g
}

func (c *shift) valid() bool {
	sum := 0
	for i, p := range c.Revisions {
		twice := slices.ContainsFunc(c.Revisions[:i], func(q portion) bool { return q.Revision == p.Revision })
		if p.Percent < 0 || p.Percent > 100 || twice {
			return false
		}
		sum += p.Percent
	}
	s := c.Step
	return sum == c.Percent && c.Percent <= 100 && s.Size >= 0 && s.Size <= c.Percent &&
		s.Start >= 0 && s.Next >= 0 && s.Duration >= 0 && (s.Duration == 0) == (s.Size == 0)
}

// String returns the state to store; empty when there is none.
func (g *gradual) String() string {
	if len(g.Configurations) == 0 {
		return ""
	}
	b, _ := json.Marshal(g) // strings and integers: cannot fail
	return string(b)
}

func (g *gradual) find(tag, configuration string) *shift {
	for _, c := range g.Configurations {
		if c.Tag == tag && c.Configuration == configuration {
			return c
		}
	}
	return nil
}

// want adds to the goal that the newest revision of a configuration gets so many percent of the tag's requests.
func (g *gradual) want(tag, configuration, revision string, percent int) {
	if c := g.find(tag, configuration); c != nil {
		c.Percent += percent
		c.Revisions[0].Percent += percent
		return
	}
	g.Configurations = append(g.Configurations, &shift{
		Configuration: configuration, Tag: tag, Percent: percent, Revisions: []portion{{revision, percent}},
	})
}

// underWay says whether some rollout has not ended.
func (g *gradual) underWay() bool {
	return slices.ContainsFunc(g.Configurations, func(c *shift) bool { return len(c.Revisions) > 1 })
}

// advance returns the state after prev on the way to the goal g, and after what time the next step is due, 0 for never.
func (g *gradual) advance(prev *gradual, r ramp) (next *gradual, again time.Duration) {
	next = &gradual{}
	for _, goal := range g.Configurations {
		c := goal
		if old := prev.find(goal.Tag, goal.Configuration); old != nil && goal.Percent > 1 && r.duration > 0 {
			c = r.move(goal, old)
		}
		if c.Percent == 0 {
			continue
		}
		next.Configurations = append(next.Configurations, c)
		if left := time.Duration(c.Step.Next) - r.now; c.Step.Next > 0 && (again == 0 || left < again) {
			again = max(left, 1)
		}
	}
	slices.SortFunc(next.Configurations, func(a, b *shift) int {
		return cmp.Or(strings.Compare(a.Tag, b.Tag), strings.Compare(a.Configuration, b.Configuration))
	})
	return next, again
}

// ramp is what all rollouts of a Route have in common.
type ramp struct {
	// now is since 1970; duration is how long a rollout should take.
	now, duration time.Duration
	programmed    bool                       // the data plane serves the state before
	alive         func(revision string) bool // says which revisions may have requests
}

// move returns the state after old on the way to goal.
func (r ramp) move(goal, old *shift) *shift {
	revisions := prune(old.Revisions, r.alive)
	if len(revisions) == 0 {
		return goal
	}
	revisions = rescale(revisions, goal.Percent)
	newest := goal.Revisions[0].Revision
	if revisions[len(revisions)-1].Revision != newest {
		c := *goal
		c.Revisions = introduce(revisions, newest)
		if len(c.Revisions) > 1 {
			c.Step = step{Start: int64(r.now)}
		}
		return &c
	}
	if len(revisions) == 1 {
		return goal
	}
	c := *goal
	c.Revisions, c.Step = revisions, r.bound(old.Step)
	if c.Step.Duration == 0 && r.programmed {
		c.Step = r.pace(c.Step.Start, c.Percent)
	}
	if c.Step.Duration > 0 && int64(r.now) >= c.Step.Next {
		c.take(r.now)
	}
	return &c
}

// bound limits the times of a step to those that a rollout of this duration can have, so that a clock that was set back or a shorter
// duration does not delay it.
func (r ramp) bound(s step) step {
	s.Start = min(cmp.Or(s.Start, int64(r.now)), int64(r.now))
	s.Duration = min(s.Duration, int64(max(r.duration, time.Second)))
	s.Next = min(s.Next, int64(r.now)+s.Duration)
	return s
}

// pace returns the steps of a rollout of percent when the data plane has just acknowledged its start. The time that this took, in whole
// seconds, is the least time between two steps.
func (r ramp) pace(start int64, percent int) step {
	least := max(1, math.Ceil((r.now - time.Duration(start)).Seconds()))
	left := max(1, math.Floor(r.duration.Seconds())-least)
	steps := min(max(1, left/least), float64(percent-1))
	duration := int64(left / steps * float64(time.Second))
	return step{
		Start: start, Next: int64(r.now) + duration, Duration: duration,
		Size: int(math.Round(float64(percent-1) / steps)),
	}
}

// take moves one step's size to the newest revision: from the second newest first, then from older ones.
func (c *shift) take(now time.Duration) {
	last := len(c.Revisions) - 1
	newest, rest := c.Revisions[last], c.Revisions[:last]
	for left := c.Step.Size; left > 0 && len(rest) > 0; {
		from := &rest[len(rest)-1]
		part := min(left, from.Percent)
		from.Percent -= part
		newest.Percent += part
		left -= part
		if from.Percent == 0 {
			rest = rest[:len(rest)-1]
		}
	}
	c.Revisions = append(rest, newest)
	if len(rest) == 0 {
		c.Step = step{}
		return
	}
	c.Step.Next = int64(now) + c.Step.Duration
}

// introduce gives a new revision its first percent, which the newest other revision gives up. A revision that comes back keeps its
// percent.
func introduce(revisions []portion, name string) []portion {
	newest := portion{name, 0}
	out := make([]portion, 0, len(revisions)+1)
	for _, p := range revisions {
		if p.Revision == name {
			newest.Percent = p.Percent
		} else if p.Percent > 0 {
			out = append(out, p)
		}
	}
	if newest.Percent == 0 {
		newest.Percent = 1
		from := &out[len(out)-1]
		if from.Percent--; from.Percent == 0 {
			out = out[:len(out)-1]
		}
	}
	return append(out, newest)
}

// prune removes revisions that may not have requests.
func prune(revisions []portion, alive func(string) bool) []portion {
	out := make([]portion, 0, len(revisions))
	for _, p := range revisions {
		if alive(p.Revision) {
			out = append(out, p)
		}
	}
	return out
}

// rescale makes the percents sum to percent, which is above 0. The newest revision gets what is missing; the oldest ones give up what is
// too much.
func rescale(revisions []portion, percent int) []portion {
	sum := 0
	for _, p := range revisions {
		sum += p.Percent
	}
	if percent >= sum {
		revisions[len(revisions)-1].Percent += percent - sum
		return revisions
	}
	for cut := sum - percent; cut > 0; {
		part := min(cut, revisions[0].Percent)
		revisions[0].Percent -= part
		cut -= part
		if revisions[0].Percent == 0 {
			revisions = revisions[1:]
		}
	}
	return revisions
}
