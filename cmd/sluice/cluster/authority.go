package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"
)

// How long certificates are valid. One is renewed when a third of its time is left, so that weeks of failures do no harm.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	// skew is how far clocks of machines may be apart.
	skew = 10 * time.Minute
)

// pair is a certificate and its key as PEM text. The chain of an authority may have older ones after it.
type pair struct{ chain, key []byte }

// newAuthority makes an authority. Clients that know it also believe the authorities before it, so that they can be renewed one by one.
func newAuthority(now time.Time, before []byte) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	template := template("sluice xds authority", now, authorityLife)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	made, err := sign(template, template, key, key)
	if err != nil {
		return pair{}, err
	}
	made.chain = append(made.chain, stillValid(before, now)...)
	return made, nil
}

// stillValid returns the certificates of a PEM text that have not expired.
func stillValid(text []byte, now time.Time) []byte {
	var kept bytes.Buffer
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && now.Before(cert.NotAfter) {
			kept.Write(pem.EncodeToMemory(block))
		}
	}
	return kept.Bytes()
}

// issue makes a certificate for a role of xDS, which is its URI, and for DNS names if it is for a server. The role may be of a namespace
// alone: ROLE/NAMESPACE.
func issue(authority pair, role string, now time.Time, names ...string) (pair, error) {
	parent, parentKey, err := parse(authority)
	if err != nil {
		return pair{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	name, _, _ := strings.Cut(role, "/") // a common name has at most 64 characters
	template := template("sluice "+name, now, leafLife)
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: "sluice", Path: "/" + role}}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(names) > 0 {
		template.DNSNames, template.ExtKeyUsage = names, append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return sign(template, parent, key, parentKey)
}

func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // the reader does not fail
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-skew), NotAfter: now.Add(life),
	}
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return pair{}, fmt.Errorf("signing a certificate: %w", err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("encoding a key: %w", err)
	}
	return pair{
		chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}),
	}, nil
}

// parse returns the first certificate of a pair and its key.
func parse(p pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	both, err := tls.X509KeyPair(p.chain, p.key)
	if err != nil {
		return nil, nil, err
	}
	key, ok := both.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("the key is not an ECDSA key")
	}
	return both.Leaf, key, nil
}

// isFresh reports whether a pair is whole, and more than a third of its time is left.
func isFresh(p pair, now time.Time) bool {
	cert, _, err := parse(p)
	return err == nil && cert.NotAfter.Sub(now) > cert.NotAfter.Sub(cert.NotBefore)/3
}

// isFor reports whether a pair is for a role.
func isFor(p pair, role string) bool {
	cert, _, err := parse(p)
	return err == nil && len(cert.URIs) == 1 && cert.URIs[0].Path == "/"+role
}

// isOf reports whether the authority has signed a pair.
func isOf(p, authority pair) bool {
	cert, _, err := parse(p)
	parent, _, err2 := parse(authority)
	return err == nil && err2 == nil && cert.CheckSignatureFrom(parent) == nil
}
