package up

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"gopkg.in/natefinch/lumberjack.v2"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/dataplane/gateway"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// startGateway starts the data plane that the options ask for.
func (u *Up) startGateway() error {
	switch {
	case u.options.Gateway == GatewayNone:
		u.serving() // data planes connect when they like
		return nil
	case u.envoy != "":
		return u.startEnvoy()
	}
	log := u.log.Named("gateway")
	g := gateway.New(gateway.Options{
		XDS: transport.InMemory, Dial: u.xds.Dial(), NodeID: transport.NodeID("gateway"), Logger: log, Drain: stage.Drain,
		Listening: func(name, address string) {
			log.Debug("listening", "listener", name, "address", address)
			if name == "http" {
				u.serving()
			}
		},
		Failed: func(name, address string, err error) {
			log.Error("cannot listen", "listener", name, "address", address, "error", err)
		},
	})
	u.pages.Handle("/", g.Admin())
	u.parts.Start("gateway", g.Run)
	return nil
}

// envoyLogSize is how large Envoy's log may become before it is moved aside, in MiB; one older file is kept.
const envoyLogSize = 8

// startEnvoy runs an Envoy in the place of the built-in gateway.
func (u *Up) startEnvoy() error {
	socket, err := transport.MakeSocketPath(u.options.DataDir, "envoy.sock")
	if err != nil {
		return err
	}
	address := transport.UnixScheme + socket
	bootstrap, err := envoy.Bootstrap(envoy.Options{NodeID: transport.NodeID("gateway"), XDS: u.xds.Socket(), Admin: address})
	if err != nil {
		return err
	}
	logs := filepath.Join(u.options.DataDir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return fmt.Errorf("making a folder for Envoy's log: %w", err)
	}
	log := &lumberjack.Logger{Filename: filepath.Join(logs, "envoy.log"), MaxSize: envoyLogSize, MaxBackups: 1}
	u.pages.Handle("/", admin.EnvoyPages(address))
	u.log.Info("running Envoy as the gateway", "path", u.envoy, "log", log.Filename, "admin", socket)
	u.parts.Start("envoy", func(ctx context.Context) error {
		defer func() { _ = log.Close() }()
		err := envoy.Run(ctx, envoy.Supervise{
			Path: u.envoy, Dir: u.options.DataDir, Bootstrap: bootstrap, Admin: address,
			Logger: u.log.Named("envoy"), Log: log, Drain: stage.Drain, Ready: u.serving,
		})
		if err != nil {
			return otherGateway(err)
		}
		return nil
	})
	return nil
}

// followCertificates keeps the gateway's certificates in the World as they are in the files.
func (u *Up) followCertificates(l *loops.Loops) {
	if len(u.gateway.Certificates) == 0 {
		return
	}
	u.parts.Start("certificates", func(ctx context.Context) error {
		u.certificates.follow(ctx, func(newest []model.Certificate) {
			g := u.gateway
			g.Certificates = newest
			l.Adapter.Gateway(g)
		})
		return nil
	})
}

// rollout is how URLs of services are written: with the port of the gateway. Whoever may write a DomainMapping here may have its domain.
func (o *Options) rollout() rollout.Options {
	number := portOf(o.HTTP)
	if number == 80 {
		number = 0 // the scheme's own port is not written
	}
	return rollout.Options{Domain: o.Domain, Port: number, SecurePort: portOf(o.HTTPS), Claims: true}
}

// portOf is the port of an address, 0 when it has none.
func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	return number
}
