package model

import "time"

// How long connections are kept without requests. On each hop whoever sends requests gives a connection up long before the other side
// does: a request that meets a connection which is being closed is lost, since nobody knows whether it has been seen.
const (
	// IdleServer is how long activators and queue-proxies keep a connection of those who send them requests.
	IdleServer = 3 * time.Minute
	// IdleClient is how long gateways keep one to activators and queue-proxies, and activators one to queue-proxies.
	IdleClient = time.Minute
	// IdleApplication is how long a queue-proxy keeps one to its application. It is less than the keep-alive timeout of the
	// common servers (gunicorn has 2 s, Node.js 5 s).
	IdleApplication = time.Second
)

// How soon those who send requests notice that the other side has gone without a word. A machine that has vanished does not answer
// TCP's keep-alive, a process that hangs does not answer HTTP/2's. Half a dozen lost packets, or some seconds without a CPU, are no
// reason to end the streams of a connection.
const (
	// KeepaliveIdle is after how long without anything TCP asks, KeepaliveInterval how often, KeepaliveProbes how often in vain.
	KeepaliveIdle     = 5 * time.Second
	KeepaliveInterval = 3 * time.Second
	KeepaliveProbes   = 3
	// PingInterval is how often HTTP/2 asks, PingTimeout how long it waits for the answer.
	PingInterval = 5 * time.Second
	PingTimeout  = 10 * time.Second
)
