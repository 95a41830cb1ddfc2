package model

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// minRSA is the size in bits below which Envoy refuses an RSA key (envoyproxy/envoy#5318).
const minRSA = 2048

// Certificate is a TLS key pair as PEM text. It must never be logged.
type Certificate struct {
	// Name identifies the certificate, as "namespace/name": it is the name of its SDS secret.
	Name string
	// Hosts are the server names that it is for; "*.example.com" matches one label.
	Hosts []string
	// Chain and Key are PEM.
	Chain, Key string
}

// Equal says whether two certificates are the same.
func (c Certificate) Equal(o Certificate) bool {
	return c.Name == o.Name && c.Chain == o.Chain && c.Key == o.Key && slices.Equal(c.Hosts, o.Hosts)
}

// Pair is a key pair that gateways accept.
type Pair struct {
	// Leaf is the certificate of the key.
	Leaf *x509.Certificate
	// Chain and Key are PEM, and contain nothing else.
	Chain, Key string
}

// ReadPair returns the key pair in two PEM texts, or what is wrong with it: a gateway must never get one that it refuses. The error reveals
// nothing of the content.
func ReadPair(chain, key []byte) (Pair, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return Pair{}, fmt.Errorf("want a chain and its key as PEM: %w", err)
	}
	p := Pair{Leaf: pair.Leaf}
	for i, der := range pair.Certificate {
		if _, err := x509.ParseCertificate(der); err != nil {
			return Pair{}, fmt.Errorf("certificate %d of its chain cannot be read: %w", i+1, err)
		}
		p.Chain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if err := checkKey(pair.Leaf.PublicKey); err != nil {
		return Pair{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return Pair{}, fmt.Errorf("its key cannot be encoded: %w", err)
	}
	p.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return p, nil
}

// checkKey returns an error for a key that Envoy refuses.
func checkKey(public any) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return fmt.Errorf("its RSA key has %d bits: want %d or more", key.N.BitLen(), minRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521() {
			return nil
		}
		return fmt.Errorf("its key is of the curve %s: want P-256, P-384 or P-521", key.Curve.Params().Name)
	}
	return fmt.Errorf("its key is neither RSA nor ECDSA")
}
