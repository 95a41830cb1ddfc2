package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/model"
)

// served are the certificates of the gateway, in files that are followed.
type served struct {
	domain  string
	sources []*certificate.Source
}

// openServed reads the pairs of --tls-cert and --tls-key.
func openServed(domain string, chains, keys []string, log hclog.Logger) (*served, error) {
	if len(chains) != len(keys) {
		return nil, errors.New("--tls-cert and --tls-key belong together: give both or none, and as many of one as of the other")
	}
	s := &served{domain: domain}
	for i := range chains {
		source, err := certificate.Open(certificate.Files{Chain: chains[i], Key: keys[i]}, log)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert %s and --tls-key %s: %w", chains[i], keys[i], err)
		}
		s.sources = append(s.sources, source)
	}
	return s, nil
}

// newest are the certificates as they are now. One alone is for all hosts; of several, each is for the names that it holds, and
// the first for all others.
func (s *served) newest() []model.Certificate {
	var all []model.Certificate
	for i, source := range s.sources {
		m := source.Newest()
		c := model.Certificate{Name: "default/gateway", Hosts: []string{"*." + s.domain}, Chain: string(m.Chain), Key: string(m.Key)}
		if i > 0 {
			c.Name = fmt.Sprintf("default/gateway-%d", i+1)
		}
		if len(s.sources) > 1 {
			c.Hosts = m.Certificate.Leaf.DNSNames
		}
		all = append(all, c)
	}
	return all
}

// follow calls changed, one call at a time, with all certificates whenever some have changed, until ctx ends.
func (s *served) follow(ctx context.Context, changed func([]model.Certificate)) {
	var telling sync.Mutex
	var following sync.WaitGroup
	for _, source := range s.sources {
		following.Go(func() {
			source.Run(ctx, func(*certificate.Material) {
				telling.Lock()
				defer telling.Unlock()
				changed(s.newest())
			})
		})
	}
	following.Wait()
}
