package taskclient

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/task"
)

// printTable prints one line for each task.
func printTable(out io.Writer, tasks []intake.View, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tREVISION\tSTATE\tAGE\tTRIES\tSTATUS\tWHY")
	for i := range tasks {
		t := &tasks[i]
		status := "-"
		if t.Status != 0 {
			status = fmt.Sprint(t.Status)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\n", t.ID, t.Revision, t.State, duration.HumanDuration(now.Sub(t.Accepted)), t.Tried,
			t.Retry.Tries, status, shown(t.Why, whyInTable))
	}
	return w.Flush()
}

// whyInTable and whyInStory bound a sentence, which may have the words of an application, in bytes.
const (
	whyInTable = 80
	whyInStory = 500
)

// shown makes a text of a server fit for a terminal: one line, without control characters, not too long.
func shown(text string, most int) string {
	cut := len(text) > most
	if cut {
		text = text[:most]
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if cut {
		text += "…"
	}
	return text
}

// printStory prints the life of a task.
func printStory(out io.Writer, t *task.Task, now time.Time) error {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s%s\n", what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s %s\n", t.ID, verdict(t, now))
	line("accepted", "%s for %s%s", t.Accepted.Local().Format(time.DateTime), t.Revision, origin(t))
	if !t.Deadline.IsZero() {
		line("deadline", "%s", t.Deadline.Local().Format(time.DateTime))
	}
	before := t.Accepted
	for i := range t.Tries {
		try := &t.Tries[i]
		storyOfTry(line, t, i, before, now)
		before = try.Ended
	}
	if t.State == task.Waiting {
		line("waits", "%s", waitsFor(t, now))
	}
	if !t.Ended.IsZero() {
		line("ended", "%s, %s after it was accepted", t.Ended.Local().Format(time.DateTime), lasted(t.Ended.Sub(t.Accepted)))
	}
	for _, d := range t.Deliveries {
		line(what(d.Letter), "%s %s", shown(d.URL, whyInStory), delivered(d, now))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// verdict is the first line.
func verdict(t *task.Task, now time.Time) string {
	text := "is " + string(t.State)
	switch {
	case t.State == task.Failed:
		text = "failed"
	case t.State.Open():
		text += ", " + lasted(now.Sub(t.Accepted)) + " after it was accepted"
	}
	if t.Why != "" && t.State != task.Waiting {
		text += ": " + shown(t.Why, whyInStory)
	}
	if !t.State.Open() && t.Status != 0 {
		text += fmt.Sprintf("; the application's last answer was %d, with %d bytes", t.Status, t.Size)
	}
	return text
}

// origin is who sent a task.
func origin(t *task.Task) string {
	text := ""
	if t.Host != "" {
		text += " at " + shown(t.Host, whyInTable)
	}
	if sender := cmp.Or(t.Sender, t.Source); sender != "" {
		text += " from " + shown(sender, whyInTable)
	}
	if t.Event != "" {
		text += ", event " + shown(t.Event, whyInTable)
	}
	return text
}

// storyOfTry tells one of the tries: the wait before it, who ran it, and how it ended.
func storyOfTry(line func(what, format string, args ...any), t *task.Task, i int, before, now time.Time) {
	try := t.Tries[i]
	if wait := try.Began.Sub(before); !before.IsZero() && wait > time.Millisecond {
		reason := "in the store, for its turn"
		if i > 0 {
			reason = "after the try before, for the back-off and its turn"
		}
		line("waited", "%s %s", lasted(wait), reason)
	}
	text := ""
	if try.Replica != "" {
		text = "by replica " + try.Replica + " "
	}
	switch {
	case try.Ended.IsZero():
		text += "runs or waits for a replica since " + lasted(now.Sub(try.Began))
	case try.Status != 0:
		text += fmt.Sprintf("was answered %d after %s", try.Status, lasted(try.Ended.Sub(try.Began)))
	default:
		text += "ended after " + lasted(try.Ended.Sub(try.Began))
	}
	if try.Why != "" {
		text += ": " + shown(try.Why, whyInStory)
	}
	line(fmt.Sprintf("try %d", i+1), "%s", text)
}

// waitsFor says what a task waits for.
func waitsFor(t *task.Task, now time.Time) string {
	text := "for its turn: it is due since " + lasted(now.Sub(t.Due))
	if t.Due.After(now) {
		text = "until " + t.Due.Local().Format(time.DateTime) + ", for " + lasted(t.Due.Sub(now)) + " more"
	}
	if t.Why != "" {
		text += "; " + shown(t.Why, whyInStory)
	}
	return text
}

func what(letter bool) string {
	if letter {
		return "dead letter"
	}
	return "callback"
}

// delivered says what has become of a delivery.
func delivered(d task.Delivery, now time.Time) string {
	switch {
	case d.Sent:
		return fmt.Sprintf("has arrived, by try %d", d.Tried)
	case d.Due.IsZero():
		return fmt.Sprintf("was given up after %d tries: %s", d.Tried, shown(d.Why, whyInStory))
	case d.Tried == 0:
		return "is to be sent"
	}
	return fmt.Sprintf("is sent again in %s; try %d failed: %s", lasted(max(d.Due.Sub(now), 0)), d.Tried, shown(d.Why, whyInStory))
}

// lasted prints how long something took, to three digits or so.
func lasted(d time.Duration) string {
	const digits = 100
	step := time.Duration(1)
	for d/step >= 10*digits {
		step *= 10
	}
	return d.Round(step).String()
}

// State is the state of a task in a line: with the try that runs, and with what is wrong.
func State(t *task.Task) string {
	text := string(t.State)
	if t.State == task.Running {
		text += fmt.Sprintf(", try %d of %d", t.Tried, t.Retry.Tries)
	}
	if t.Why != "" {
		text += ": " + shown(t.Why, whyInStory)
	}
	return text
}
