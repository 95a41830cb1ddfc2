package certificate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// rootFiles are where systems have the authorities that they trust: the one of the environment variable, then those that package
// crypto/x509 looks at.
var rootFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
}

// Roots returns the authorities that this system trusts, as PEM, for programs that do not find them. SSL_CERT_FILE names the file, as
// for crypto/x509.
func Roots() (string, error) {
	named := os.Getenv("SSL_CERT_FILE")
	if named != "" {
		text, err := readRegular(named)
		return string(text), err
	}
	for _, file := range rootFiles {
		text, err := readRegular(file)
		if err == nil {
			return string(text), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("no authorities are at %s, nor does SSL_CERT_FILE name a file", rootFiles[0])
}
