package certificate

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// minRSA is the size in bits below which Envoy and browsers reject an RSA key.
const minRSA = 2048

// Files are paths of PEM files. Chain and Key belong together; the pair, or CA, may be left out.
type Files struct {
	Chain string // the certificate, and those between it and its authority
	Key   string // the private key of the certificate
	CA    string // the authorities that the other side's certificate must be signed by
}

// Material is the content of the files at one time. It is immutable. Key is secret: do not log a Material.
type Material struct {
	Chain, Key, CA []byte // as in the files

	Certificate *tls.Certificate // nil without Chain
	Authorities *x509.CertPool   // nil without CA
}

// read reads the files. The error names the file.
func (f Files) read() (*Material, error) {
	m := &Material{}
	for _, file := range []struct {
		path string
		to   *[]byte
	}{{f.Chain, &m.Chain}, {f.Key, &m.Key}, {f.CA, &m.CA}} {
		if file.path == "" {
			continue
		}
		text, err := readRegular(file.path)
		if err != nil {
			return nil, err
		}
		*file.to = text
	}
	return m, nil
}

// readRegular reads a regular file. A read from a pipe without a writer, or from a device, might never end.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not wait for the writer of a pipe
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file, but %s: want a file", path, info.Mode().Type())
	}
	return io.ReadAll(f)
}

// parse checks that the contents of the files fit together, and prepares them for use. The error names the file.
func (m *Material) parse(f Files) error {
	if f.Chain != "" {
		if err := m.pair(f); err != nil {
			return err
		}
	}
	if f.CA == "" {
		return nil
	}
	authorities, err := certificates(m.CA)
	if err != nil {
		return fmt.Errorf("%s holds no authorities: %w", f.CA, err)
	}
	m.Authorities = x509.NewCertPool()
	for _, a := range authorities {
		m.Authorities.AddCert(a)
	}
	return nil
}

func (m *Material) pair(f Files) error {
	if _, err := certificates(m.Chain); err != nil {
		return fmt.Errorf("%s holds no certificate chain: %w", f.Chain, err)
	}
	pair, err := tls.X509KeyPair(m.Chain, m.Key)
	if err != nil {
		// The error has kinds and sizes, never contents.
		return fmt.Errorf("%s and %s are no certificate and its key: %w", f.Chain, f.Key, err)
	}
	if key, ok := pair.Leaf.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSA {
		return fmt.Errorf("%s has an RSA key of %d bits: want %d or more", f.Key, key.N.BitLen(), minRSA)
	}
	m.Certificate = &pair
	return nil
}

// same reports whether the contents of the files are the same.
func (m *Material) same(other *Material) bool {
	return bytes.Equal(m.Chain, other.Chain) && bytes.Equal(m.Key, other.Key) && bytes.Equal(m.CA, other.CA)
}

// certificates parses all certificates of a file. Unlike the standard library it does not skip what it cannot parse: a file that is partly
// written looks like that.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	switch {
	case bytes.Contains(text, []byte("-----BEGIN")):
		return nil, fmt.Errorf("it breaks off after %d certificates", len(all))
	case len(all) == 0:
		return nil, errors.New("there is no PEM block of type CERTIFICATE in it")
	}
	return all, nil
}
