package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// secretListener is the listener "https", whose one filter chain names secrets.
func secretListener(t testing.TB, names ...string) *resource.Resource {
	l := newListener(t, "https", "127.0.0.1:0", newManager(t, "http"))
	context := &tlsv3.CommonTlsContext{}
	for _, name := range names {
		context.TlsCertificateSdsSecretConfigs = append(context.TlsCertificateSdsSecretConfigs,
			&tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads()})
	}
	l.FilterChains[0].TransportSocket = tlsSocket(t, context)
	l.DefaultFilterChain, l.FilterChains = l.FilterChains[0], nil
	return res(t, gcpresource.ListenerType, "https", l)
}

func secret(t testing.TB, name, chain, key string) *resource.Resource {
	return res(t, gcpresource.SecretType, name, &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: text(chain), PrivateKey: text(key)},
	}})
}

// newSecret is a secret with a fresh certificate, and its serial.
func newSecret(t testing.TB, a *authority.Authority, name string) (*resource.Resource, *big.Int) {
	t.Helper()
	chain, key := a.Sign(name + ".test")
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return secret(t, name, string(chain), string(key)), pair.Leaf.SerialNumber
}

// trusting accepts any certificate: the tests look at it.
func trusting(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols} //nolint:gosec // see above
}

// handshake connects to the listener "https" and returns the state of the connection.
func (b *bench) handshake(config *tls.Config) tls.ConnectionState {
	b.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: waitLimit}, "tcp", b.address("https"), config)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	// In TLS 1.3 the session ticket comes with the first response.
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if _, err := io.ReadAll(conn); err != nil {
		b.Fatal(err)
	}
	return conn.ConnectionState()
}

func (b *bench) wantSerial(want *big.Int) {
	b.Helper()
	if got := b.handshake(trusting("http/1.1")).PeerCertificates[0].SerialNumber; got.Cmp(want) != 0 {
		b.Errorf("a new handshake sees the certificate %v, want %v", got, want)
	}
}

// session is a client with one connection, on which one request goes on until the test ends it.
type session struct {
	client *http.Client
	dials  atomic.Int64
	body   *io.PipeWriter
	answer *bufio.Reader
}

func (b *bench) newSession(h2 bool) *session {
	b.Helper()
	s := &session{}
	transport := &http.Transport{TLSClientConfig: trusting(), Protocols: new(http.Protocols), IdleConnTimeout: time.Hour}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetHTTP2(h2)
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		s.dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	s.client = &http.Client{Transport: transport}
	b.Cleanup(transport.CloseIdleConnections)
	if !h2 {
		s.use(b)
		return s
	}
	read, write := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, "https://"+b.address("https")+"/stream", read)
	if err != nil {
		b.Fatal(err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { res.Body.Close() })
	s.body, s.answer = write, bufio.NewReader(res.Body)
	s.use(b)
	return s
}

// use sends a request, and a line of the stream where there is one.
func (s *session) use(b *bench) {
	b.Helper()
	res, err := s.client.Get("https://" + b.address("https") + "/")
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "hello" {
		b.Errorf("%q (%v), want hello", text, err)
	}
	if s.body == nil {
		return
	}
	if _, err := io.WriteString(s.body, "still there\n"); err != nil {
		b.Fatal(err)
	}
	if line, err := s.answer.ReadString('\n'); line != "still there\n" {
		b.Fatalf("the stream says %q (%v)", line, err)
	}
}

// streams echoes the body of /stream line by line, and says hello elsewhere.
func streams(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/stream" {
		fmt.Fprint(w, "hello")
		return
	}
	_ = http.NewResponseController(w).EnableFullDuplex()
	w.(http.Flusher).Flush()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		fmt.Fprintln(w, lines.Text())
		w.(http.Flusher).Flush()
	}
}

// served are the resources that the tests of secrets need beside the listener "https".
func served(t testing.TB) []*resource.Resource {
	return append(h2cBackend(t, "a", upstream(t, streams)), routes(t, vhost("h", "*", to(prefix("/"), "a"))))
}

func TestRenewedSecretDropsNoConnection(t *testing.T) {
	a := authority.New(t)
	b := start(t, Options{})
	first, serial := newSecret(t, a, "ns/one")
	b.push(append(served(t), secretListener(t, "ns/one"), first)...)
	b.wantSerial(serial)
	var sessions []*session
	for i := range 50 {
		sessions = append(sessions, b.newSession(i%2 == 1))
	}
	address := b.address("https")
	for range 3 {
		renewed, serial := newSecret(t, a, "ns/one")
		b.push(renewed)
		b.wantSerial(serial)
		for i, s := range sessions {
			s.use(b)
			if n := s.dials.Load(); n != 1 {
				t.Fatalf("connection %d was dropped: %d have been made", i, n)
			}
		}
	}
	if b.address("https") != address {
		t.Error("the listener was bound again")
	}
	for _, s := range sessions {
		if s.body != nil {
			s.body.Close()
		}
	}
}

func TestSessionIsResumedUnderItsCertificateOnly(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			a := authority.New(t)
			b := start(t, Options{})
			first, _ := newSecret(t, a, "ns/one")
			b.push(append(served(t), secretListener(t, "ns/one"), first)...)
			config := trusting("http/1.1")
			config.ClientSessionCache, config.ServerName, config.MaxVersion = tls.NewLRUClientSessionCache(1), "one.test", version
			for range 2 {
				if b.handshake(config).DidResume {
					t.Error("a session was resumed that began under another certificate")
				}
				for range 2 {
					if !b.handshake(config).DidResume {
						t.Error("a session was not resumed under the same certificate")
					}
				}
				renewed, _ := newSecret(t, a, "ns/one")
				b.push(renewed)
			}
		})
	}
}

func TestBrokenSecretIsRefusedAndTheLastGoodOneServes(t *testing.T) {
	a := authority.New(t)
	b := start(t, Options{})
	first, serial := newSecret(t, a, "ns/one")
	b.push(append(served(t), secretListener(t, "ns/one"), first)...)
	b.wantSerial(serial)
	chain, key := a.Sign("one.test")
	_, other := a.Sign("one.test")
	for name, c := range map[string]struct {
		secret *resource.Resource
		want   string
	}{
		"no pair":        {secret(t, "ns/one", string(chain), string(other)), "not a pair"},
		"no certificate": {secret(t, "ns/one", string(key), string(key)), "not a pair"},
		"half a key":     {secret(t, "ns/one", string(chain), string(key[:len(key)/2])), "not a pair"},
		"empty":          {secret(t, "ns/one", "", ""), "not a pair"},
		"no type":        {res(t, gcpresource.SecretType, "ns/one", &tlsv3.Secret{Name: "ns/one"}), "tls_certificate"},
		"another type": {res(t, gcpresource.SecretType, "ns/one",
			&tlsv3.Secret{Name: "ns/one", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{}}}), "generic_secret"},
		"another's name": {res(t, gcpresource.SecretType, "ns/one", &tlsv3.Secret{Name: "ns/two"}), `is "ns/two"`},
		"garbage": {raw(gcpresource.SecretType, "ns/one", append([]byte("\xff"), key...)),
			"not a envoy.extensions.transport_sockets.tls.v3.Secret"},
		"garbage in a text": {secret(t, "ns/one", string(chain), "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"),
			"not a pair"},
	} {
		t.Run(name, func(t *testing.T) {
			had := b.refusals()
			b.server.Apply(resource.Update{Set: one(c.secret)})
			got := b.refusal(had)
			if !strings.Contains(got, `secret "ns/one"`) || !strings.Contains(got, c.want) {
				t.Errorf("the NACK says %q; it should name the secret and say %q", got, c.want)
			}
			for line := range strings.Lines(string(key) + string(other) + "SECRET") {
				if strings.Contains(got, strings.TrimSpace(line)) {
					t.Errorf("the NACK holds key material: %q", got)
				}
			}
			b.wantSerial(serial)
			renewed, next := newSecret(t, a, "ns/one")
			b.push(renewed)
			b.wantSerial(next)
			serial = next
		})
	}
}

func TestListenerTakesNoConnectionBeforeItsSecretsAreThere(t *testing.T) {
	a := authority.New(t)
	b := start(t, Options{})
	b.push(append(served(t), secretListener(t, "ns/one", "ns/two"))...)
	conn, err := net.Dial("tcp", b.address("https")) // which waits in the kernel
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if b.gateway.ready() {
		t.Error("the gateway is ready without the certificates")
	}
	first, serial := newSecret(t, a, "ns/one")
	b.push(first)
	if b.gateway.ready() {
		t.Error("the gateway is ready with one certificate of two")
	}
	// The wait for routes is over, but there is no certificate.
	b.gateway.mu.Lock()
	active := b.gateway.listeners["https"]
	b.gateway.overdue(active)
	serving := active.serving
	b.gateway.mu.Unlock()
	if serving != nil {
		t.Error("the listener serves without its certificates")
	}
	second, _ := newSecret(t, a, "ns/two")
	b.push(second)
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	secure := tls.Client(conn, trusting("http/1.1"))
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	if got := secure.ConnectionState().PeerCertificates[0].SerialNumber; got.Cmp(serial) != 0 || !b.gateway.ready() {
		t.Errorf("the certificate %v is served, want %v; ready: %v", got, serial, b.gateway.ready())
	}
}

func TestNewVersionOfAListenerWaitsForItsSecretBesideTheOld(t *testing.T) {
	a := authority.New(t)
	b := start(t, Options{})
	old, oldSerial := newSecret(t, a, "ns/old")
	b.push(append(served(t), secretListener(t, "ns/old"), old)...)
	s := b.newSession(true)
	b.update(resource.Update{Set: one(secretListener(t, "ns/new")), Removed: one(old)})
	b.wantSerial(oldSerial)
	next, serial := newSecret(t, a, "ns/new")
	b.push(next)
	b.wantSerial(serial)
	s.use(b)
	if n := s.dials.Load(); n != 1 {
		t.Errorf("%d connections were made, want the first one to live on", n)
	}
	s.body.Close()
	b.update(resource.Update{Set: one(tlsListener(t, newCertificate(t, "h.test")))})
	b.gateway.mu.Lock()
	defer b.gateway.mu.Unlock()
	if n := len(b.gateway.secrets); n != 0 {
		t.Errorf("%d secrets are kept that no listener names", n)
	}
}

func TestConfigDumpShowsSecretsWithoutTheirKeys(t *testing.T) {
	b := start(t, Options{})
	first, serial := newSecret(t, authority.New(t), "ns/one")
	b.push(append(served(t), secretListener(t, "ns/one"), first)...)
	b.wantSerial(serial)
	dump := b.page("/config_dump")
	for _, want := range []string{"SecretsConfigDump", "dynamic_active_secrets", `"ns/one"`, "BEGIN CERTIFICATE", "[redacted]"} {
		if !strings.Contains(dump, want) {
			t.Errorf("/config_dump lacks %s", want)
		}
	}
	if strings.Contains(dump, "PRIVATE KEY") {
		t.Error("/config_dump shows a private key")
	}
	if page := b.page("/stats/prometheus"); !strings.Contains(page, "envoy_sds_update_success{} 1") {
		t.Error("the statistics do not count the secret")
	}
}

// BenchmarkHandshake is a new connection with one request over TLS 1.3: with a certificate, and with a session that is resumed.
func BenchmarkHandshake(b *testing.B) {
	bench := start(b, Options{})
	first, _ := newSecret(b, authority.New(b), "ns/one")
	bench.push(append(served(b), secretListener(b, "ns/one"), first)...)
	for _, resumed := range []bool{false, true} {
		b.Run(fmt.Sprintf("resumed=%v", resumed), func(b *testing.B) {
			config := trusting("http/1.1")
			if resumed {
				config.ClientSessionCache, config.ServerName = tls.NewLRUClientSessionCache(1), "one.test"
				bench.handshake(config)
			}
			for b.Loop() {
				bench.handshake(config)
			}
		})
	}
}

// BenchmarkRenew renews a certificate that 100 filter chains name, from its bytes to where handshakes find it.
func BenchmarkRenew(b *testing.B) {
	a := authority.New(b)
	g := New(Options{XDS: "127.0.0.1:1"})
	l, err := config.CompileListener("https", "1", secretListener(b, "ns/one").Body)
	if err != nil {
		b.Fatal(err)
	}
	for range 99 {
		l.Chains = append(l.Chains, &settings.FilterChain{HTTP: l.Fallback.HTTP, TLS: l.Fallback.TLS})
	}
	g.listeners["https"] = &activeListener{serving: g.connect(l)}
	first, _ := newSecret(b, a, "ns/one")
	for b.Loop() {
		if err := g.setSecret(client.Resource{Name: "ns/one", Version: "1", Body: first.Body}); err != nil {
			b.Fatal(err)
		}
	}
}
