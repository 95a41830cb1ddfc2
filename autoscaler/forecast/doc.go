// Package forecast expects the load of the next minutes from the load of the last three weeks.
//
// The method is the seasonal naive one (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 5.2) with the median of several
// seasons in place of the last one: what is expected is the lower median of the load at the same time of the last seven days, or of the
// same weekday of the last three weeks. Which of the two counts is chosen by their past errors, smoothed exponentially. The last hour
// moves the level. A lone spike, an outage and a gap are outvoted by the other seasons, and nothing is expected before there are two.
//
// The package is pure: the moment is an argument. It must not know revisions, replicas, or where a history is kept.
package forecast
