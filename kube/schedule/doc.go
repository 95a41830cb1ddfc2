// Package schedule keeps the schedules of the API as values: one value for each ScalingSchedule, which all revisions share that it
// concerns, and what is wrong with it. It must not know how objects are read or written, nor how times are computed.
package schedule
