package explain

import (
	"fmt"
	"slices"
	"strings"
)

// conclude writes the verdict.
func (c *chain) conclude() {
	out := c.out
	if len(out.Broken) == 0 {
		out.Served = true
		out.Verdict = fmt.Sprintf("%s is served: %s; %s", c.what(), c.split(), c.having())
		return
	}
	first := out.Broken[0]
	if i := slices.IndexFunc(out.Broken, func(l Link) bool { return l.Stops }); i >= 0 {
		first = out.Broken[i]
		out.Verdict = "no: " + first.sentence()
		return
	}
	if c.Unknown != nil && first.Link == LinkXDS {
		out.Verdict = fmt.Sprintf("cannot tell whether %s is served: %s", c.what(), first.sentence())
		return
	}
	if c.Unknown != nil {
		out.Verdict = fmt.Sprintf("%s is not as asked, and whether it is served is unknown: %s", c.what(), first.sentence())
		return
	}
	out.Served = true
	out.Verdict = fmt.Sprintf("%s is served, but not as asked: %s", c.what(), first.sentence())
}

func (l Link) sentence() string {
	if l.Remedy == "" {
		return l.Message
	}
	return l.Message + ". " + l.Remedy
}

// what names the subject, and the host where the question was about one.
func (c *chain) what() string {
	if c.claim != nil {
		return fmt.Sprintf("%s of %s", c.Query.Host, c.subject())
	}
	return c.subject()
}

// split says which revisions get the requests, in a few words.
func (c *chain) split() string {
	var percents []string
	asleep := 0
	for _, r := range c.out.Revisions {
		if r.Percent == 0 {
			continue
		}
		percents = append(percents, fmt.Sprint(r.Percent))
		if r.Desired != nil && *r.Desired == 0 {
			asleep++
		}
	}
	text := count(len(percents), "revision", "revisions")
	if len(percents) > 1 {
		text += ", " + strings.Join(percents, "/")
	}
	if len(c.shifts()) > 0 {
		text += ", a gradual rollout is under way"
	}
	switch {
	case asleep == 0:
	case asleep == len(percents):
		text += ", asleep until a request comes"
	default:
		text += fmt.Sprintf(", %d of them asleep until a request comes", asleep)
	}
	return text
}

// having says which clients have acknowledged the chain.
func (c *chain) having() string {
	n := 0
	for _, client := range c.out.Clients {
		if client.State == StateInSync {
			n++
		}
	}
	if n == 1 {
		return "the one client that takes it has it"
	}
	return fmt.Sprintf("all %d clients have it", n)
}
