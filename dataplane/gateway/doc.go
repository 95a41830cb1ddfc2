// Package gateway is the built-in data plane: an xDS client of the role "gateway" that serves HTTP where no Envoy is installed. In all
// that users see it follows Envoy: matching, header changes, timeouts, local replies, admin pages and metric names.
//
// It subscribes to all listeners and clusters, and to the routes, secrets and endpoint assignments that they name. This package puts each
// good version into force, NACKs the bad ones while the last good version goes on serving, reports load, and serves the admin pages. Its
// rooms do the rest. config, listener and proxy know settings, and not each other:
//
//   - settings: the plain values that say what the gateway is to do
//   - config: compiles Envoy's resources into settings, or refuses them
//   - listener: sockets, TLS handshakes, HTTP servers and their drain
//   - proxy: the request path: route, balance, retry, limit, count
//
// The package must not know Worlds, revisions or Kubernetes: whatever speaks xDS may drive it.
package gateway
