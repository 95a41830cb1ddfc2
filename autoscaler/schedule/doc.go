// Package schedule says which bounds a schedule asks for at a moment, why, and when they change next.
//
// An entry opens windows at the times of a cron, in a time zone. A window closes after a duration, or at the time of another cron. Being
// inside a window is computed from the moment alone and never remembered, so a restart changes nothing. The largest minimum and the
// smallest maximum of all open windows count; where the maximum is less than the minimum, the minimum wins.
//
// The parser and the calendar of crons are robfig/cron's; this package applies them to local times and finds the moments of these in the
// time zone. See local for what daylight-saving time does to an entry. Every question takes bounded work, whatever the cron.
//
// The package is pure: the moment is an argument. It must not know revisions, loads, or who asks. It has the time zones of the IANA
// database embedded, because images have none.
package schedule
