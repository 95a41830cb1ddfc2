package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/crds"
	"sluice.dev/sluice/standalone/folder"
	"sluice.dev/sluice/standalone/socket"
	"sluice.dev/sluice/standalone/store"
)

// Options say where a Server keeps its data and where it listens.
type Options struct {
	// Dir is the data directory; it is made when it does not exist. One process at a time may use it.
	Dir string
	// Listen is the address of the API, host:port; port 0 takes a free one. It is HTTPS.
	Listen string
	// CRDs are the kinds that it serves; those of package crds when nil.
	CRDs []*apiextensionsv1.CustomResourceDefinition
	// CheckScaling returns what is wrong with the autoscaling annotations of a revision, one line each; nil for no check.
	CheckScaling func(annotations map[string]string) error
	// Store returns the command of the store's process: see store.Options.Command. If it is nil, the store runs within this process.
	Store func(dir, socket string, existing bool) *exec.Cmd
	// Logger may be nil.
	Logger hclog.Logger
}

// Server is a running API server.
type Server struct {
	config     *rest.Config
	kubeconfig string
	store      *store.Store
	done       chan struct{}
	err        error // valid when done is closed
}

// Config returns a configuration for clients that are the administrator, without a rate limit.
func (s *Server) Config() *rest.Config { return rest.CopyConfig(s.config) }

// Kubeconfig returns the path of the kubeconfig file for kubectl and kn.
func (s *Server) Kubeconfig() string { return s.kubeconfig }

// Done is closed when the server has stopped and the data directory is free again.
func (s *Server) Done() <-chan struct{} { return s.done }

// Wait waits until the server has stopped and returns why, nil when its context ended.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// Start starts an API server and returns when it serves all kinds. The server stops when ctx ends: requests and watches get
// a second to finish, then the store stops.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding the data directory: %w", err)
	}
	o.Dir = dir
	if o.CRDs == nil {
		if o.CRDs, err = crds.Definitions(); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	s := &Server{kubeconfig: filepath.Join(o.Dir, "kubeconfig"), done: make(chan struct{})}
	if err := s.start(ctx, o); err != nil {
		return nil, err
	}
	o.Logger.Info("API server is ready", "address", s.config.Host, "dir", o.Dir, "took", time.Since(began).Round(time.Millisecond))
	return s, nil
}

// start starts all parts. With an error none of them runs any more.
func (s *Server) start(ctx context.Context, o Options) (err error) {
	var undo cleanups
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	lock, err := lockDir(o.Dir, o.Logger)
	if err != nil {
		return err
	}
	undo.add(func() { _ = lock.Close() })
	listener, err := listen(ctx, o.Listen)
	if err != nil {
		return err
	}
	undo.add(func() { _ = listener.Close() })
	if s.store, err = store.Start(ctx, store.Options{Dir: o.Dir, Command: o.Store, Logger: o.Logger.Named("store")}); err != nil {
		return err
	}
	undo.add(s.store.Stop)
	if err := seedDefinitions(ctx, s.store.Client(), o.CRDs); err != nil {
		return err
	}
	set, err := s.settings(o, listener)
	if err != nil {
		return err
	}
	server, err := newServer(set)
	if err != nil {
		return err
	}
	// The library ends the whole process if its context ends before all of its hooks have run. So ctx does not end the start.
	unbroken := context.WithoutCancel(ctx)
	runCtx, cancel := context.WithCancel(unbroken)
	go func() {
		defer close(s.done)
		defer cancel()
		s.err = server.GenericAPIServer.PrepareRun().RunWithContext(runCtx)
		if s.err != nil {
			s.err = fmt.Errorf("running the API server: %w", s.err)
		}
		undo.run()
	}()
	if err = s.awaitReady(unbroken); err == nil {
		err = writeKubeconfig(s.kubeconfig, s.config)
	}
	if err != nil {
		cancel()
		<-s.done
		undo = nil // run already
		return err
	}
	context.AfterFunc(ctx, func() {
		cancel()
		time.AfterFunc(drain, s.store.Leave) // otherwise the library would wait until the requests time out
	})
	return nil
}

// settings prepares what newServer needs, and the configuration of clients.
func (s *Server) settings(o Options, listener net.Listener) (settings, error) {
	token, err := folder.Token(filepath.Join(o.Dir, "token")) // the administrator's
	if err != nil {
		return settings{}, fmt.Errorf("the API's token: %w", err)
	}
	host, port := reachable(listener.Addr())
	pair, err := loadKeyPair(filepath.Join(o.Dir, "apiserver.crt"), filepath.Join(o.Dir, "apiserver.key"), host)
	if err != nil {
		return settings{}, err
	}
	s.config = &rest.Config{Host: "https://" + net.JoinHostPort(host, port), BearerToken: token, QPS: -1}
	s.config.CAData = pair.cert
	return settings{listener: listener, store: s.store, token: token, pair: pair, scaling: o.CheckScaling}, nil
}

// listen opens the API's socket.
func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := socket.Listen(ctx, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("address %s of the API is in use by another process: "+
			"stop that process, or choose another address with --api: %w", address, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for the API on %s (--api): %w", address, err)
	}
	return l, nil
}

// reachable returns the address at which clients on this machine reach a listener; loopback if it listens on all addresses.
func reachable(a net.Addr) (host, port string) {
	tcp, ok := a.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		tcp = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}
		a = tcp
	}
	host, port, _ = net.SplitHostPort(a.String())
	return host, port
}

// awaitReady polls until the server is ready, which includes that it serves all kinds.
func (s *Server) awaitReady(ctx context.Context) error {
	client, err := rest.UnversionedRESTClientFor(readyConfig(s.config))
	if err != nil {
		return fmt.Errorf("configuring a client of the API server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = client.Get().AbsPath("/readyz").Do(ctx).Error(); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.done:
			return errors.Join(errors.New("the API server stopped before it was ready"), s.err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server to be ready: %w", errors.Join(ctx.Err(), err))
		}
	}
}

func readyConfig(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return c
}

// cleanups are run in reverse.
type cleanups []func()

func (c *cleanups) add(f func()) { *c = append(*c, f) }

func (c cleanups) run() {
	for i := len(c) - 1; i >= 0; i-- {
		c[i]()
	}
}
