package activator

import (
	"strconv"
	"strings"
	"time"
)

// partNames are the parts of a cold start, in order, as Server-Timing and the metrics name them.
var partNames = [...]string{"decide", "start", "ready", "endpoints", "dispatch"}

// parts are the times that a request spent between its arrival and the connection to a replica. They add up to activate:
//
//	decide     until the control plane requested a replica from the runtime
//	start      until the replica's process existed
//	ready      until it was ready for requests
//	endpoints  until this activator got its endpoint
//	dispatch   until there was a connection to it
type parts struct {
	activate time.Duration
	each     [len(partNames)]time.Duration
}

// parts divides the wait of a request. A time that is unknown or out of order counts as the nearest possible one, so that no part is
// negative and they add up.
func (x *exchange) parts() parts {
	if !x.Cold() || x.sent.IsZero() {
		end := x.sent
		if end.IsZero() {
			end = time.Now()
		}
		return parts{activate: end.Sub(x.Arrived)}
	}
	start, appeared := x.revision.ColdStart()
	return divide(x.Arrived, x.sent, [...]time.Time{start.Asked, start.Started, start.Ready, appeared})
}

func divide(arrived, sent time.Time, moments [len(partNames) - 1]time.Time) parts {
	p := parts{activate: sent.Sub(arrived)}
	previous := arrived
	for i, then := range moments {
		if then.Before(previous) {
			then = previous
		}
		if then.After(sent) {
			then = sent
		}
		p.each[i] = then.Sub(previous)
		previous = then
	}
	p.each[len(moments)] = sent.Sub(previous)
	return p
}

// serverTiming is the value of the Server-Timing header, in milliseconds. Only a cold start has more than the total.
func (p parts) serverTiming(cold bool) string {
	var b strings.Builder
	write := func(name string, d time.Duration) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + ";dur=" + strconv.FormatFloat(float64(d.Nanoseconds())/1e6, 'f', 3, 64))
	}
	if !cold {
		write("activate", p.activate)
		return b.String()
	}
	// Rounded parts shall add up to the total as it is written.
	var sum, written time.Duration
	var rounded [len(partNames)]time.Duration
	for i, d := range p.each {
		sum += d
		rounded[i] = sum.Round(time.Microsecond) - written
		written += rounded[i]
	}
	write("activate", written)
	for i, d := range rounded {
		write(partNames[i], d)
	}
	return b.String()
}
