package up

import (
	"fmt"
	"path/filepath"
	"time"

	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/tasks"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/bolt"
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
	if u.tasks, err = tasks.New(tasks.Options{Allow: u.options.CallbackAllow, Logger: u.log.Named("tasks")}); err != nil {
		return nil, fmt.Errorf("--callback-allow: %w", err)
	}
	return activator.New(activator.Options{
		Tasks: u.tasks.Serve, Backlog: u.tasks.Backlog,
		XDS: transport.InMemory, Dial: u.xds.Dial(), NodeID: transport.NodeID("activator"), Listener: listener,
		Logger: u.log.Named("activator"), Drain: stage.Drain, Quiet: quiet,
		Limits: activator.Limits{WaitingTotal: heldAtMost(u.options.MaxReplicas)},
	})
}

// startActivator runs the activator, opens the task store of the data directory, and runs what is in it. There may be no activator.
func (u *Up) startActivator(a *activator.Activator) error {
	if a == nil {
		return nil
	}
	u.parts.Start("activator", a.Run)
	s, err := bolt.Open(filepath.Join(u.options.DataDir, "tasks", "tasks.db"), store.DefaultLimits, time.Now())
	if err != nil {
		return err
	}
	u.registry.MustRegister(u.tasks.Open(s, a.Address(), a.Runner()))
	u.pages.HandleFunc("/tasks", u.tasks.Admin)
	u.pages.HandleFunc("/tasks/", u.tasks.Admin)
	u.parts.Start("tasks", u.tasks.Run)
	return nil
}
