package certificate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// period is how often Run reads the files. Reading whole files costs microseconds, and notices what a modification time does not: symbolic
// links that are moved, and two writes within one tick.
const period = time.Second

// Source has the newest Material of some files. Many goroutines may use it.
type Source struct {
	files  Files
	logger hclog.Logger

	reading sync.Mutex // held while the files are read, so that an older read does not replace a newer one
	problem string     // what is wrong with the files now, empty if nothing; guarded by reading

	mu     sync.Mutex
	newest *Material
}

// Open reads the files for the first time. The error says which one is wrong and what would be right. The logger may be nil.
func Open(files Files, logger hclog.Logger) (*Source, error) {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	switch {
	case (files.Chain == "") != (files.Key == ""):
		return nil, errors.New("a certificate and its key belong together: give both files or none")
	case files == (Files{}):
		return nil, errors.New("no file is given")
	}
	m, err := files.read()
	if err == nil {
		err = m.parse(files)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; want PEM files that this user can read", err)
	}
	return &Source{files: files, logger: logger, newest: m}, nil
}

// Newest returns the Material that was accepted last.
func (s *Source) Newest() *Material {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// Refresh reads the files now and returns the newest Material. If the files do not fit together, the Material from before stays in use, and
// one warning is logged.
func (s *Source) Refresh() *Material {
	s.reading.Lock()
	defer s.reading.Unlock()
	before := s.Newest() // only Refresh changes it
	m, err := s.files.read()
	if err == nil && m.same(before) {
		s.problem = ""
		return before
	}
	if err == nil {
		err = m.parse(s.files)
	}
	if err != nil {
		s.reject(err)
		return before
	}
	s.problem = ""
	s.mu.Lock()
	s.newest = m
	s.mu.Unlock()
	s.logger.Info("certificates were read again", s.described(m)...)
	return m
}

// reject logs what is wrong with the files, once.
func (s *Source) reject(err error) {
	if s.problem == err.Error() {
		return
	}
	s.problem = err.Error()
	s.logger.Warn("new certificates are rejected and those from before stay in use; "+
		"put a certificate and its key in place together, by renaming whole files", "error", err)
}

// described is what may be logged of a Material.
func (s *Source) described(m *Material) []any {
	var pairs []any
	if m.Certificate != nil {
		leaf := m.Certificate.Leaf
		pairs = append(pairs, "file", s.files.Chain, "serial", leaf.SerialNumber.Text(16),
			"until", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if m.Authorities != nil {
		pairs = append(pairs, "authorities", s.files.CA)
	}
	return pairs
}

// Run refreshes each second until ctx ends. It calls changed, which may be nil, after each Material that is new since Run began, even one
// that another call of Refresh has found. Two Materials that follow each other closely may cause one call.
func (s *Source) Run(ctx context.Context, changed func(*Material)) {
	last := s.Newest()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if m := s.Refresh(); m != last {
			last = m
			if changed != nil {
				changed(m)
			}
		}
	}
}

// Server is a configuration for serving TLS 1.3 with the newest certificate at each handshake. With authorities, clients must present a
// certificate that one of them has signed.
func (s *Source) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := s.Newest()
			if m.Certificate == nil {
				return nil, errors.New("there is no certificate to serve with")
			}
			c := &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: protocols, Certificates: []tls.Certificate{*m.Certificate},
				// A resumed session would restore an identity without a check against the current authorities.
				SessionTicketsDisabled: true,
			}
			if m.Authorities != nil {
				c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, m.Authorities
			}
			return c, nil
		},
	}
}

// Client is a configuration for one TLS connection, with the current content of the files. One of the authorities must have signed the
// server's certificate, which must be for the name; the caller fills in an empty name.
func (s *Source) Client(name string) *tls.Config {
	m := s.Refresh()
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: name, RootCAs: m.Authorities}
	if m.Certificate != nil {
		// Sluice presents it whatever authorities the server names: the server's error then says what is wrong with the certificate,
		// rather than that there was none.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.Certificate, nil }
	}
	return c
}
