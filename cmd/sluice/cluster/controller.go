package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/kube"
)

// Controller is one replica of the control plane. It is made by New, and Run may be called once.
type Controller struct {
	// New sets these.
	options  Options
	log      hclog.Logger
	secrets  *secrets
	election *election
	listener net.Listener

	// Run sets these.
	front *front
	pages atomic.Pointer[http.ServeMux] // of the admin address; a leader has more of them
	state atomic.Pointer[state]
}

// state is what /readyz says.
type state struct {
	ready <-chan struct{} // closed when this replica can serve xDS clients; nil: it cannot yet
	why   string          // it cannot
}

// New checks the options, and listens for xDS clients.
func New(o Options) (*Controller, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	ctrl.SetLogger(kube.Bridge(o.Logger.Named("kube"))) // also of the libraries that run while this replica does not lead
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making --dir: %w", err)
	}
	listener, err := net.Listen("tcp", o.XDS)
	if err != nil {
		return nil, fmt.Errorf("listening on --xds: %w", err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	c := &Controller{options: o, log: o.Logger, listener: listener}
	if c.election, err = newElection(o.Config, o.Namespace, o.Pod, net.JoinHostPort(o.IP, port), o.Logger.Named("election")); err != nil {
		listener.Close()
		return nil, err
	}
	client, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	c.secrets = &secrets{
		client: client.CoreV1().Secrets(o.Namespace), namespace: o.Namespace, dir: o.Dir, log: o.Logger.Named("certificates"),
	}
	return c, nil
}

// Run runs the replica until the context ends. It returns earlier, with an error, when a part fails.
func (c *Controller) Run(ctx context.Context) error {
	parts := stage.NewGroup()
	return parts.Stop(c.run(ctx, parts))
}

func (c *Controller) run(ctx context.Context, parts *stage.Group) error {
	c.pages.Store(c.newPages(admin.NewMux(admin.NewRegistry())))
	c.state.Store(&state{why: "no replica leads yet"})
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.pages.Load().ServeHTTP(w, r) })
	if err := c.options.Admin.Serve(parts, pages); err != nil {
		return err
	}
	if err := c.awaitCertificates(ctx, parts); err != nil || ctx.Err() != nil {
		return err
	}
	c.front = newFront(c.listener, c.log.Named("xds"))
	parts.Start("xds address", c.front.run)
	changes := newLatest[leadership]()
	parts.Start("election", func(ctx context.Context) error { return c.election.run(ctx, changes.put) })
	return c.follow(ctx, parts, changes)
}

// awaitCertificates makes the certificate of the xDS server. The API server may be away when a pod starts.
func (c *Controller) awaitCertificates(ctx context.Context, parts *stage.Group) error {
	for {
		err := c.secrets.certificates(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			c.log.Warn("cannot get the certificate of the xDS server", "again in", retryPeriod, "error", err)
		}
		retry := make(chan struct{})
		timer := time.AfterFunc(retryPeriod, func() { close(retry) })
		err = parts.Wait(ctx, retry)
		timer.Stop()
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// follow leads while this replica is the leader, and passes xDS clients on while another one is.
func (c *Controller) follow(ctx context.Context, parts *stage.Group, changes *latest[leadership]) error {
	var own *term // nil: this replica does not lead
	for {
		failed := own.failure()
		select {
		case err := <-failed:
			return own.stop(err)
		case <-changes.changed:
		case err := <-parts.Failed():
			return own.stop(err)
		case <-ctx.Done():
			c.state.Store(&state{why: "this replica ends"})
			c.log.Info("stopping")
			return own.stop(nil)
		}
		now := changes.get()
		if now.own == (own != nil) {
			if !now.own {
				c.followTo(now.leader)
			}
			continue
		}
		if !now.own {
			c.log.Warn("another replica leads: this one stops leading", "leader", now.leader)
			err := own.stop(nil)
			if own = nil; err != nil {
				return err
			}
			c.followTo(now.leader)
			continue
		}
		var err error
		if own, err = c.lead(ctx); err != nil {
			return err
		}
	}
}

// followTo passes xDS clients on to a leader; empty: none is known.
func (c *Controller) followTo(leader string) {
	c.pages.Store(c.newPages(admin.NewMux(admin.NewRegistry())))
	c.front.follow(leader)
	s := &state{why: "no replica leads"}
	if leader != "" {
		ready := make(chan struct{})
		close(ready)
		s = &state{ready: ready}
	}
	c.state.Store(s)
}

// newPages adds the pages of the control plane.
func (c *Controller) newPages(mux *http.ServeMux) *http.ServeMux {
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		s := c.state.Load()
		select {
		case <-s.ready: // never, when it is nil
			_, _ = w.Write([]byte("ok\n"))
		default:
			http.Error(w, s.why, http.StatusServiceUnavailable)
		}
	})
	return mux
}

// file returns the path of one of this replica's files.
func (c *Controller) file(name string) string { return filepath.Join(c.options.Dir, name) }
