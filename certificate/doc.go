// Package certificate reads certificates, keys and authorities from PEM files, and reads them again when they change. It accepts only files
// that fit together. A TLS server asks for the newest certificate at each handshake, so existing connections continue; Run calls a function
// for each new certificate.
//
// It must not know what is served with certificates, nor to whom.
package certificate
