package certificate_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/test/authority"
)

// patience bounds how long a test waits for what must come.
const patience = 2 * time.Minute

// open opens files and returns what is logged about them.
func open(t *testing.T, files certificate.Files) (*certificate.Source, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	s, err := certificate.Open(files, hclog.New(&hclog.LoggerOptions{Output: log}))
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

func TestFilesThatDoNotFitTogetherAreRefusedAtTheStart(t *testing.T) {
	a := authority.New(t)
	one, two := a.Issue("one", "localhost"), a.Issue("two", "localhost")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	authority.Write(t, empty, nil)
	weak := weakPair(t)
	for name, test := range map[string]struct {
		files certificate.Files
		want  string
	}{
		"nothing":               {certificate.Files{}, "no file"},
		"half a pair":           {certificate.Files{Chain: one.Chain}, "belong together"},
		"a key alone":           {certificate.Files{Key: one.Key, CA: a.File}, "belong together"},
		"another's key":         {certificate.Files{Chain: one.Chain, Key: two.Key}, two.Key},
		"no such file":          {certificate.Files{CA: empty + "x"}, empty + "x"},
		"a weak key":            {weak, "1024 bits"},
		"an empty chain":        {certificate.Files{Chain: empty, Key: one.Key}, empty},
		"a key as an authority": {certificate.Files{CA: one.Key}, "CERTIFICATE"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := certificate.Open(test.files, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that names %q", err, test.want)
			}
		})
	}
}

// weakPair is a certificate for an RSA key that nobody takes.
func weakPair(t *testing.T) certificate.Files {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // weak on purpose
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := certificate.Files{Chain: filepath.Join(dir, "weak.pem"), Key: filepath.Join(dir, "weak-key.pem")}
	authority.Write(t, files.Chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	authority.Write(t, files.Key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return files
}

func TestNewFilesAreAcceptedAndReportedOnce(t *testing.T) {
	a := authority.New(t)
	files := a.Issue("server", "localhost")
	synctest.Test(t, func(t *testing.T) {
		s, log := open(t, files)
		reported := make(chan *certificate.Material, 10)
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx, func(m *certificate.Material) { reported <- m })
		first := s.Newest()
		time.Sleep(5*time.Second + 500*time.Millisecond) // between two looks: none meets half of what is written below
		if s.Newest() != first || len(reported) > 0 || log.Len() > 0 {
			t.Errorf("something happened without a change: %s", log)
		}
		a.Issue("server", "localhost")
		time.Sleep(5 * time.Second)
		if len(reported) != 1 || s.Newest() == first || <-reported != s.Newest() {
			t.Errorf("the new certificate is not reported once; logged %s", log)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("logged %d lines:\n%s", n, log)
		}
		cancel()
		synctest.Wait()
	})
}

func TestBrokenFilesAreRejectedAndLoggedOnce(t *testing.T) {
	a := authority.New(t)
	files := a.Issue("server", "localhost")
	files.CA = a.File
	s, log := open(t, files)
	first := s.Newest()
	_, otherKey := a.Sign("localhost")
	for name, damage := range map[string]struct {
		path string
		text []byte
	}{
		"the key of a pair that is still being written": {files.Key, otherKey},
		"half of the chain":                             {files.Chain, first.Chain[:len(first.Chain)/2]},
		"a chain that breaks off after its first": {files.Chain,
			append(bytes.Clone(first.Chain), first.Chain[:len(first.Chain)/2]...)},
		"an empty key": {files.Key, nil},
		"garbage for authorities": {files.CA,
			[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			good, err := os.ReadFile(damage.path)
			if err != nil {
				t.Fatal(err)
			}
			authority.Write(t, damage.path, damage.text)
			for range 3 {
				if s.Refresh() != first {
					t.Fatal("it was taken over")
				}
			}
			text := log.String()
			if strings.Count(text, "\n") != 1 || !strings.Contains(text, damage.path) {
				t.Errorf("want one line that names %s, got\n%s", damage.path, text)
			}
			if strings.Contains(text, "PRIVATE") {
				t.Errorf("a key was logged:\n%s", text)
			}
			authority.Write(t, damage.path, good)
			if s.Refresh() != first {
				t.Error("what is as it was before counts as new")
			}
		})
	}
	os.Remove(files.Key)
	if s.Refresh() != first || !strings.Contains(log.String(), files.Key) {
		t.Errorf("a file that is gone: logged %s", log)
	}
	a.Issue("server", "localhost")
	if s.Refresh() == first {
		t.Error("a good pair after broken ones is not accepted")
	}
}

// handshake connects a client with a server over loopback, and returns how it went for each of them.
func handshake(t *testing.T, server, client *tls.Config) (atClient tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		_, err = conn.Write([]byte{1})
		done <- err
	}()
	raw, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(conn, make([]byte, 1)) // in TLS 1.3 a client gets the refusal only now
	}
	raw.Close()
	return conn.ConnectionState(), <-done, clientErr
}

func TestEachHandshakeUsesTheNewestFiles(t *testing.T) {
	a := authority.New(t)
	files := a.Issue("server", "sluice.test")
	files.CA = a.File
	server, _ := open(t, files)
	identity := a.Issue("client", "spiffe://x/gateway")
	identity.CA = a.File
	client, _ := open(t, identity)
	config := server.Server("h2")
	for range 2 {
		want := server.Refresh().Certificate.Leaf.SerialNumber
		c := client.Client("sluice.test")
		c.NextProtos = []string{"h2"}
		state, err1, err2 := handshake(t, config, c)
		if err1 != nil || err2 != nil {
			t.Fatalf("server: %v, client: %v", err1, err2)
		}
		if got := state.PeerCertificates[0].SerialNumber; got.Cmp(want) != 0 || state.NegotiatedProtocol != "h2" {
			t.Errorf("serial %v, want %v; protocol %q", got, want, state.NegotiatedProtocol)
		}
		a.Issue("server", "sluice.test")
		a.Issue("client", "spiffe://x/gateway")
	}

	// Authorities are followed as well: those who were signed by the last one come in no more.
	other := authority.New(t)
	text, err := os.ReadFile(other.File)
	if err != nil {
		t.Fatal(err)
	}
	authority.Write(t, files.CA, text)
	server.Refresh()
	if _, err1, err2 := handshake(t, config, &tls.Config{InsecureSkipVerify: true,
		Certificates: []tls.Certificate{*client.Newest().Certificate}}); err1 == nil || err2 == nil {
		t.Errorf("an authority that is gone still lets in: server: %v, client: %v", err1, err2)
	}
}

func TestHandshakeIsRefused(t *testing.T) {
	a, stranger := authority.New(t), authority.New(t)
	files := a.Issue("server", "sluice.test")
	files.CA = a.File
	server, _ := open(t, files)
	good := a.Issue("client", "client.test")
	good.CA = a.File
	foreign := stranger.Issue("client", "client.test")
	foreign.CA = a.File
	wrongCA := good
	wrongCA.CA = stranger.File
	for name, test := range map[string]struct {
		files  certificate.Files
		name   string
		change func(*tls.Config)
		want   string
	}{
		"without a certificate":               {certificate.Files{CA: a.File}, "sluice.test", nil, "certificate required"},
		"with one of another authority":       {foreign, "sluice.test", nil, "unknown certificate authority"},
		"by a client that trusts another":     {wrongCA, "sluice.test", nil, "unknown authority"},
		"by a client that wants another name": {good, "other.test", nil, "other.test"},
		"below TLS 1.3": {good, "sluice.test", func(c *tls.Config) { c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12 },
			"protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := open(t, test.files)
			config := client.Client(test.name)
			if test.change != nil {
				test.change(config)
			}
			if _, _, err := handshake(t, server.Server("h2"), config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the client sees %v, want %q", err, test.want)
			}
		})
	}
}

// BenchmarkRefresh is what looking at three files costs, as is done each second.
func BenchmarkRefresh(b *testing.B) {
	a := authority.New(b)
	files := a.Issue("server", "localhost")
	files.CA = a.File
	s, err := certificate.Open(files, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s.Refresh()
	}
}

// TestPipesAreNotRead: nobody writes to it, which a read would wait for.
func TestPipesAreNotRead(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "ca.pem")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certificate.Open(certificate.Files{CA: pipe}, hclog.NewNullLogger()); err == nil ||
		!strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("it says %v", err)
	}
}
