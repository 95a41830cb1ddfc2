package up

import (
	"time"

	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/standalone/socket"
)

// newActivator makes the activator of this process; nil if there is to be none.
func (u *Up) newActivator() (*activator.Activator, error) {
	if u.options.Activator == noActivator || u.options.Activator == "" {
		return nil, nil
	}
	listener, err := socket.ListenFor("--activator", u.options.Activator)
	if err != nil {
		return nil, err
	}
	quiet := time.Duration(0)
	if u.options.Gateway != GatewayNone {
		quiet = 50 * time.Millisecond // the gateway has ended before it
	}
	return activator.New(activator.Options{
		XDS: transport.InMemory, Dial: u.xds.Dial(), NodeID: transport.NodeID("activator"), Listener: listener,
		Logger: u.log.Named("activator"), Drain: stage.Drain, Quiet: quiet,
		Limits: activator.Limits{WaitingTotal: heldAtMost(u.options.MaxReplicas)},
	})
}
