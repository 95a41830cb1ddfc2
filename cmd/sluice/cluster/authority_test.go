package cluster

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestCertificatesProveTheirRole(t *testing.T) {
	now := time.Now()
	authority, err := newAuthority(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	server, err := issue(authority, "controller", now, serverName("sluice-system"))
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := issue(authority, "gateway", now)
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AppendCertsFromPEM(authority.chain)
	verify := func(p pair, name string, usage x509.ExtKeyUsage) error {
		cert, _, err := parse(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = cert.Verify(x509.VerifyOptions{Roots: known, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now})
		return err
	}
	if err := verify(server, "controller.sluice-system.svc", x509.ExtKeyUsageServerAuth); err != nil {
		t.Errorf("the server's certificate: %v", err)
	}
	if err := verify(gateway, "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("the gateway's certificate: %v", err)
	}
	if err := verify(gateway, "", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("a gateway's certificate is good for a server")
	}
	if cert, _, _ := parse(gateway); len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://sluice/gateway" {
		t.Errorf("the gateway's certificate is for %v", cert.URIs)
	}
}

func TestCertificateIsRenewedInTime(t *testing.T) {
	now := time.Now()
	authority, err := newAuthority(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := issue(authority, "gateway", now)
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]bool{0: true, 50 * 24 * time.Hour: true, 61 * 24 * time.Hour: false,
		100 * 24 * time.Hour: false} {
		if got := isFresh(leaf, now.Add(after)); got != want {
			t.Errorf("after %v it is fresh: %t, want %t", after, got, want)
		}
	}
	if isFresh(pair{}, now) || isFresh(pair{chain: leaf.chain, key: authority.key}, now) {
		t.Error("a pair that is not whole is fresh")
	}
}

func TestClientsBelieveTheOldAuthorityWhileItIsReplaced(t *testing.T) {
	now := time.Now()
	old, err := newAuthority(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := issue(old, "gateway", now)
	if err != nil {
		t.Fatal(err)
	}
	next, err := newAuthority(now, old.chain)
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AppendCertsFromPEM(next.chain)
	cert, _, _ := parse(leaf)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: known, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("a certificate of the old authority: %v", err)
	}
	if isOf(leaf, next) || !isOf(leaf, old) {
		t.Error("it is not clear which authority signed a certificate")
	}
	after, err := newAuthority(now.Add(2*authorityLife), next.chain)
	if err != nil {
		t.Fatal(err)
	}
	if string(after.chain[len(after.chain)-1:]) != "\n" || len(stillValid(after.chain, now.Add(2*authorityLife))) != len(after.chain) {
		t.Error("an authority that has expired is kept")
	}
}
