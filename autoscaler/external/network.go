package external

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice.dev/sluice/model"
)

// dialTimeout bounds a connection.
const dialTimeout = 5 * time.Second

// errRefused is why an address is not dialled.
var errRefused = errors.New("this address may not be dialled")

// dialer dials for users, who may name any address. The check is on the address that a connection is about to be made to, so a name that
// leads to it does not help.
type dialer struct{ loopback bool }

func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout, Control: d.control}).DialContext(ctx, network, address)
}

func (d dialer) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s is no IP address and port", errRefused, address)
	}
	if what := d.forbidden(to.Addr().Unmap()); what != "" {
		return fmt.Errorf("%w: %s is %s", errRefused, to.Addr(), what)
	}
	return nil
}

// forbidden says what an address is that must not be dialled. Link-local ones have the metadata of cloud machines; loopback ones are, in
// a cluster, of the controller's own pod.
func (d dialer) forbidden(to netip.Addr) string {
	switch {
	case to.IsLinkLocalUnicast():
		return "link-local"
	case to.IsMulticast():
		return "multicast"
	case to.IsUnspecified():
		return "no address of a server"
	case to.IsLoopback() && !d.loopback:
		return "an address of the controller itself"
	}
	return ""
}

// CheckTLS says in a sentence what is wrong with certificates; empty when nothing is. It reveals nothing of a key.
func CheckTLS(t model.ClientTLS) string {
	if _, err := clientTLS(t, ""); err != nil {
		return err.Error()
	}
	return ""
}

// clientTLS returns the configuration for TLS to a server; nil for plain text.
func clientTLS(t model.ClientTLS, serverName string) (*tls.Config, error) {
	if t.Plaintext {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("the CA bundle has no certificate in PEM")
		}
	}
	if t.Chain != "" || t.Key != "" {
		pair, err := tls.X509KeyPair([]byte(t.Chain), []byte(t.Key))
		if err != nil {
			return nil, fmt.Errorf("the client's certificate cannot be used: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// longest is how many bytes of a text that a server has sent are shown.
const longest = 200

// foreign is a text that somebody else has written, for a log or a status: short, on one line, and nothing but what can be printed.
func foreign(text string) string {
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}
