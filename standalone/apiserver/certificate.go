package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"sluice.dev/sluice/standalone/folder"
)

const (
	certificateLife = 5 * 365 * 24 * time.Hour
	// A start replaces a certificate that expires sooner than this.
	certificateRenewal = 90 * 24 * time.Hour
)

// keyPair is a self-signed certificate and its key as PEM. The certificate is its own authority.
type keyPair struct{ cert, key []byte }

// loadKeyPair returns the pair in the two files. It makes a new pair if there is none, or if the certificate expires soon or is
// not for host.
func loadKeyPair(certFile, keyFile, host string) (keyPair, error) {
	cert, err1 := folder.Read(certFile)
	key, err2 := folder.Read(keyFile)
	for _, err := range []error{err1, err2} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return keyPair{}, fmt.Errorf("reading the API's certificate: %w", err)
		}
	}
	pair := keyPair{cert, key}
	if pair.serves(host, time.Now().Add(certificateRenewal)) {
		return pair, nil
	}
	pair, err := newKeyPair(host)
	if err != nil {
		return keyPair{}, fmt.Errorf("making the API's certificate: %w", err)
	}
	if err := errors.Join(folder.Write(keyFile, pair.key), folder.Write(certFile, pair.cert)); err != nil {
		return keyPair{}, fmt.Errorf("writing the API's certificate: %w", err)
	}
	return pair, nil
}

func (p keyPair) serves(host string, at time.Time) bool {
	pair, err := tls.X509KeyPair(p.cert, p.key)
	return err == nil && pair.Leaf.VerifyHostname(host) == nil && at.Before(pair.Leaf.NotAfter)
}

// newKeyPair makes an ECDSA pair. That takes a millisecond; an RSA pair would take much of the start.
func newKeyPair(host string) (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return keyPair{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "sluice"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		// The server's own clients use the override's name as server name.
		DNSNames:    []string{"localhost", genericapiserver.LoopbackClientServerNameOverride},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	} else {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return keyPair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
