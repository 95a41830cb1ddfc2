package feature

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	certificates "sluice.dev/sluice/certificate"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/authority"
)

// serialOf returns the serial number of the certificate in files.
func serialOf(t *testing.T, files certificates.Files) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Chain, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.Text(16)
}

// shownTo returns the serial number of the certificate that the server sends in a new handshake.
func shownTo(address, serverName string) (string, error) {
	dialer := &net.Dialer{Timeout: patience}
	config := &tls.Config{ServerName: serverName, InsecureSkipVerify: true} //nolint:gosec // the test only reads the certificate
	conn, err := tls.DialWithDialer(dialer, "tcp", address, config)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}

// shows waits until the server sends the certificate in files in new handshakes, and returns how long that took.
func shows(t *testing.T, address, serverName string, files certificates.Files) time.Duration {
	t.Helper()
	want, start := serialOf(t, files), time.Now()
	eventually(t, "new handshakes get "+files.Chain, func() error {
		got, err := shownTo(address, serverName)
		if err == nil && got != want {
			err = fmt.Errorf("serial %s, want %s", got, want)
		}
		return err
	})
	return time.Since(start)
}

// keepers are clients that send requests over TLS again and again, each over one connection that it keeps.
type keepers struct {
	stop     func()
	answered atomic.Int64
	dials    []*atomic.Int64

	mu     sync.Mutex
	failed []string
}

func keep(https string, n int) *keepers {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keepers{}
	var running sync.WaitGroup
	for i := range n {
		dials := &atomic.Int64{}
		k.dials = append(k.dials, dials)
		config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test does not verify the certificate
		transport := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(i%2 == 0)
		transport.Protocols.SetHTTP2(i%2 == 1)
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, https)
		}
		running.Go(func() {
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			for ctx.Err() == nil {
				k.ask(client)
				time.Sleep(5 * time.Millisecond) // between two requests
			}
		})
	}
	k.stop = func() { cancel(); running.Wait() }
	return k
}

func (k *keepers) ask(client *http.Client) {
	response, err := client.Get("https://" + host + "/")
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", response.Status)
		}
	}
	if err == nil {
		k.answered.Add(1)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = append(k.failed, time.Now().Format("15:04:05.000 ")+err.Error())
}

func TestCertificateIsRenewedUnderLoad(t *testing.T) { onEachGateway(t, certificateIsRenewedUnderLoad) }

func certificateIsRenewedUnderLoad(t *testing.T, g gateway) {
	a := authority.New(t)
	files := a.Issue("gateway", "*.default.localhost")
	https := address.Free(t)
	s := g.up(t, "-f", absolute(t, "examples/hello"), "--https", https, "--tls-cert", files.Chain, "--tls-key", files.Key)
	s.ready("hello")
	shows(t, https, host, files)
	k := keep(https, 20)
	defer k.stop()
	eventually(t, "all clients are connected", func() error {
		for i, dials := range k.dials {
			if dials.Load() == 0 {
				return fmt.Errorf("client %d is not", i)
			}
		}
		return nil
	})
	var taken []time.Duration
	for range 3 {
		a.Issue("gateway", "*.default.localhost")
		taken = append(taken, shows(t, https, host, files))
	}

	// A broken file changes nothing, and the log says so.
	before := serialOf(t, files)
	good, err := os.ReadFile(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	_, another := a.Sign("*.default.localhost")
	for _, broken := range [][]byte{good[:len(good)/2], another} {
		authority.Write(t, files.Key, broken)
		count := strings.Count(s.printed(), "new certificates are rejected")
		eventually(t, "a warning", func() error {
			if strings.Count(s.printed(), "new certificates are rejected") == count {
				return fmt.Errorf("there are %d", count)
			}
			return nil
		})
		if got, err := shownTo(https, host); err != nil || got != before {
			t.Errorf("with a broken key the server sends the certificate %s (%v), want %s still", got, err, before)
		}
	}
	if out := s.printed(); !strings.Contains(out, files.Key) || strings.Contains(out, "PRIVATE KEY") {
		t.Errorf("the warning does not name the file, or a key was logged:\n%s", out)
	}
	a.Issue("gateway", "*.default.localhost")
	taken = append(taken, shows(t, https, host, files))

	k.stop()
	for i, dials := range k.dials {
		if n := dials.Load(); n != 1 {
			t.Errorf("client %d had to connect %d times: its connection was dropped", i, n)
		}
	}
	if len(k.failed) > 0 || k.answered.Load() == 0 {
		t.Errorf("%d of %d requests failed: %v", len(k.failed), k.answered.Load(), k.failed)
	}
	t.Logf("%d requests on %d connections; new certificates were served after %v", k.answered.Load(), len(k.dials), taken)
}

func TestEachDomainHasItsCertificate(t *testing.T) { onEachGateway(t, eachDomainHasItsCertificate) }

func eachDomainHasItsCertificate(t *testing.T, g gateway) {
	a := authority.New(t)
	one, two := a.Issue("one", "*.one.test"), a.Issue("two", "*.two.test")
	https := address.Free(t)
	g.up(t, "--https", https, "--tls-cert", one.Chain, "--tls-key", one.Key, "--tls-cert", two.Chain, "--tls-key", two.Key)
	shows(t, https, "a.one.test", one)
	shows(t, https, "a.two.test", two)
	shows(t, https, "a.three.test", one)
	a.Issue("two", "*.two.test", "*.three.test")
	shows(t, https, "a.two.test", two)
	shows(t, https, "a.three.test", two)
	shows(t, https, "a.one.test", one)
}
