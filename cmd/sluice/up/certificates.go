package up

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/model"
)

// certificates are the certificates of the gateway, in files that may change.
type certificates struct {
	domain  string
	sources []*certificate.Source
}

// openCertificates reads the pairs of --tls-cert and --tls-key.
func openCertificates(domain string, chains, keys []string, log hclog.Logger) (*certificates, error) {
	if len(chains) != len(keys) {
		return nil, errors.New("--tls-cert and --tls-key belong together: give both or none, and as many of one as of the other")
	}
	s := &certificates{domain: domain}
	for i := range chains {
		source, err := certificate.Open(certificate.Files{Chain: chains[i], Key: keys[i]}, log)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert %s and --tls-key %s: %w", chains[i], keys[i], err)
		}
		s.sources = append(s.sources, source)
	}
	return s, nil
}

// newest returns the certificates as the files have them now. A single certificate is for all hosts; of several, each is for the names in
// it, and the first also for all others.
func (s *certificates) newest() []model.Certificate {
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

// follow calls changed with all certificates whenever one has changed, one call at a time, until ctx ends.
func (s *certificates) follow(ctx context.Context, changed func([]model.Certificate)) {
	var calling sync.Mutex
	var following sync.WaitGroup
	for _, source := range s.sources {
		following.Go(func() {
			source.Run(ctx, func(*certificate.Material) {
				calling.Lock()
				defer calling.Unlock()
				changed(s.newest())
			})
		})
	}
	following.Wait()
}
