package envoy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/test/authority"
)

// vestibule takes TLS connections of Envoys in front of a server that speaks plain text.
type vestibule struct {
	listener net.Listener
	config   *tls.Config

	mu      sync.Mutex
	conns   []net.Conn
	serials []string // of the certificates of those who came in
}

func newVestibule(t *testing.T, server string, config *tls.Config) *vestibule {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &vestibule{listener: l, config: config}
	t.Cleanup(func() { l.Close(); v.disconnect() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go v.admit(tls.Server(conn, config), server)
		}
	}()
	return v
}

func (v *vestibule) admit(from *tls.Conn, server string) {
	defer from.Close()
	if from.Handshake() != nil {
		return
	}
	to, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	v.mu.Lock()
	v.conns = append(v.conns, from, to)
	v.serials = append(v.serials, from.ConnectionState().PeerCertificates[0].SerialNumber.String())
	v.mu.Unlock()
	go func() {
		_, _ = io.Copy(from, to)
		from.Close()
	}()
	_, _ = io.Copy(to, from)
	to.Close()
}

func (v *vestibule) disconnect() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		c.Close()
	}
	v.conns = nil
}

func (v *vestibule) last() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.serials) == 0 {
		return ""
	}
	return v.serials[len(v.serials)-1]
}

// volume is a folder of files that change together, as the kubelet makes it for a Secret.
type volume struct {
	t   *testing.T
	dir string
}

func (v *volume) put(version string, files map[string][]byte) {
	v.t.Helper()
	if err := os.Mkdir(filepath.Join(v.dir, version), 0o700); err != nil {
		v.t.Fatal(err)
	}
	for name, text := range files {
		authority.Write(v.t, filepath.Join(v.dir, version, name), text)
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)); err != nil && !os.IsExist(err) {
			v.t.Fatal(err)
		}
	}
	if err := os.Symlink(version, filepath.Join(v.dir, "..data_tmp")); err != nil {
		v.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")); err != nil {
		v.t.Fatal(err)
	}
}

func serialOf(t *testing.T, chain, key []byte) string {
	t.Helper()
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return (&big.Int{}).Set(pair.Leaf.SerialNumber).String()
}

// A certificate expires while Envoy runs. Envoy must present the next one, or it would never get anything again.
func TestRealEnvoyPresentsARenewedCertificate(t *testing.T) {
	t.Parallel()
	signer := authority.New(t)
	root, err := os.ReadFile(signer.File)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(root)
	own := signer.Issue("server", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(own.Chain, own.Key)
	if err != nil {
		t.Fatal(err)
	}
	secret := &volume{t, t.TempDir()}
	chain, key := signer.Sign("spiffe://sluice/gateway")
	first := serialOf(t, chain, key)
	secret.put("..1", map[string][]byte{"ca.crt": root, "tls.crt": chain, "tls.key": key})
	in := func(name string) string { return filepath.Join(secret.dir, name) }
	security := &envoy.TLS{
		CA: in("ca.crt"), ServerName: "127.0.0.1", Certificate: in("tls.crt"), Key: in("tls.key"), Dir: t.TempDir(),
	}
	if err := security.WriteSecrets(); err != nil {
		t.Fatal(err)
	}
	var v *vestibule
	r := startReal(t,
		setting{application: hello, expected: []*regexp.Regexp{streamsEnd}, tls: security, between: func(server string) string {
			v = newVestibule(t, server, &tls.Config{
				Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
				NextProtos: []string{"h2"},
				MinVersion: tls.VersionTLS13,
			})
			return v.listener.Addr().String()
		}})
	if got := v.last(); got != first {
		t.Fatalf("Envoy presents the certificate %s, want %s", got, first)
	}
	chain, key = signer.Sign("spiffe://sluice/gateway")
	second := serialOf(t, chain, key)
	secret.put("..2", map[string][]byte{"ca.crt": root, "tls.crt": chain, "tls.key": key})
	await(t, "Envoy presents the new certificate when it connects again", func() bool {
		v.disconnect()
		await(t, "Envoy connects again", func() bool { v.mu.Lock(); defer v.mu.Unlock(); return len(v.conns) > 0 })
		return v.last() == second
	})
	r.xds.route("hello.default.localhost", "later.default.localhost")
	await(t, "Envoy has what changed since", func() bool {
		dump, err := r.ask("GET", "/config_dump?resource=dynamic_route_configs")
		return err == nil && strings.Contains(dump, "later.default.localhost")
	})
}
