package model

import "time"

// Idle timeouts of connections. On each hop the client closes an idle connection long before the server does. A request on a connection
// that the server is closing is lost, because the client cannot know whether the server has seen it.
const (
	// IdleServer is how long activators and queue-proxies keep idle connections of their clients.
	IdleServer = 3 * time.Minute
	// IdleClient is how long gateways keep idle connections to activators and queue-proxies, and activators to queue-proxies.
	IdleClient = time.Minute
	// IdleApplication is how long a queue-proxy keeps an idle connection to its application. It is less than the keep-alive timeout of
	// common servers (gunicorn has 2 s, Node.js 5 s).
	IdleApplication = time.Second
)

// How soon a client notices that its server has gone without closing the connection. A machine that has vanished does not answer
// keep-alives of TCP, a process that hangs does not answer pings of HTTP/2. Some lost packets, or some seconds without a CPU, are no
// reason to end the streams of a connection.
const (
	// KeepaliveIdle is after how long an idle connection is probed, KeepaliveInterval the time between probes, KeepaliveProbes after how
	// many unanswered ones the connection ends.
	KeepaliveIdle     = 5 * time.Second
	KeepaliveInterval = 3 * time.Second
	KeepaliveProbes   = 3
	// PingInterval is the time between pings of HTTP/2, PingTimeout how long to wait for the answer.
	PingInterval = 5 * time.Second
	PingTimeout  = 10 * time.Second
)
