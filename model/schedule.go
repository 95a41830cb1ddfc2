package model

import "time"

// Schedule is capacity that is planned ahead, for certain times. A schedule that concerns several revisions is one value, which they share.
type Schedule struct {
	// Name is what sentences call it, such as `ScalingSchedule "office"`.
	Name string
	// TimeZone is an IANA name, such as Europe/Berlin; empty means UTC.
	TimeZone string
	// Lead is how long before the start of an entry its replicas are started; nil means as long as they were observed to take.
	Lead    *time.Duration
	Entries []ScheduleEntry
}

// ScheduleEntry is one line of a Schedule.
type ScheduleEntry struct {
	Name string
	// Start says when its windows open: a cron of five fields, or a descriptor such as @daily.
	Start string
	// Duration is how long a window is open, in elapsed time. When it is 0, End says when windows close, as a cron.
	Duration time.Duration
	End      string
	// Min is the least number of replicas while a window is open, Max the largest one; nil leaves them as they are.
	Min, Max *int
}

// ScheduleState is what a Schedule asks for at one moment.
type ScheduleState struct {
	// Active are the names of the entries whose windows are open, in their order.
	Active []string
	// Min and Max are the bounds that they ask for together; nil is none.
	Min, Max *int
	// Until is when the state changes next; zero when it never does.
	Until time.Time
}
