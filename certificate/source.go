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

// period is how often Run looks at the files. They are read whole, which costs microseconds and misses nothing that a time of
// modification would: symbolic links that are moved, two writes within one tick.
const period = time.Second

// Source is the newest material of some files. It may be used by many goroutines.
type Source struct {
	files  Files
	logger hclog.Logger

	reading  sync.Mutex // held while the files are read; orders what is taken over
	complain string     // what is wrong with the files now, empty if nothing; guarded by reading

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

// Newest is what was taken over last.
func (s *Source) Newest() *Material {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// Refresh reads the files now and returns the newest material. What does not fit together is not taken over: that is said once,
// and what was there before stays.
func (s *Source) Refresh() *Material {
	s.reading.Lock()
	defer s.reading.Unlock()
	before := s.Newest() // only Refresh changes it
	m, err := s.files.read()
	if err == nil && m.same(before) {
		s.complain = ""
		return before
	}
	if err == nil {
		err = m.parse(s.files)
	}
	if err != nil {
		s.refuse(err)
		return before
	}
	s.complain = ""
	s.mu.Lock()
	s.newest = m
	s.mu.Unlock()
	s.logger.Info("certificates were read again", s.described(m)...)
	return m
}

// refuse says what is wrong with the files, if that has not been said.
func (s *Source) refuse(err error) {
	if s.complain == err.Error() {
		return
	}
	s.complain = err.Error()
	s.logger.Warn("new certificates are not taken over, those from before stay in use; put a certificate and its key in place together, by renaming whole files",
		"error", err)
}

// described is what may be logged of material.
func (s *Source) described(m *Material) []any {
	var pairs []any
	if m.Certificate != nil {
		leaf := m.Certificate.Leaf
		pairs = append(pairs, "file", s.files.Chain, "serial", leaf.SerialNumber.Text(16), "until", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if m.Authorities != nil {
		pairs = append(pairs, "authorities", s.files.CA)
	}
	return pairs
}

// Run refreshes each second until ctx ends. It calls changed, which may be nil, after each material that was taken over since Run
// began, by whomever it was found; two that follow each other closely may be one call.
func (s *Source) Run(ctx context.Context, changed func(*Material)) {
	told := s.Newest()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if m := s.Refresh(); m != told {
			told = m
			if changed != nil {
				changed(m)
			}
		}
	}
}

// Server is a configuration for serving TLS 1.3 with what is newest at each handshake. With authorities, clients must present a
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
				// A session that is resumed would bring back an identity without asking the authorities of now.
				SessionTicketsDisabled: true,
			}
			if m.Authorities != nil {
				c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, m.Authorities
			}
			return c, nil
		},
	}
}

// Client is a configuration for one TLS connection, with what the files hold now. The server's certificate must be signed by one
// of the authorities and be for the name; an empty name is for the caller to fill in.
func (s *Source) Client(name string) *tls.Config {
	m := s.Refresh()
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: name, RootCAs: m.Authorities}
	if m.Certificate != nil {
		// Presented whatever authorities the server names: its refusal then says what is wrong with the certificate rather than
		// that there was none.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.Certificate, nil }
	}
	return c
}
