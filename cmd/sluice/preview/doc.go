// Package preview shows the next windows of schedules and the bounds that result from them, as a table and as a picture. It is pure: it
// must not know where schedules are read, nor what the time is.
package preview
