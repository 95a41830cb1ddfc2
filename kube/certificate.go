package kube

import (
	"context"

	"sluice.dev/sluice/model"
)

// gatewayCertificate stands for the gateway among the users of Secrets.
var gatewayCertificate = model.Ref{Kind: kindGateway, Key: model.Key{Name: "https"}}

// secretChanged has the certificate of a Secret's user follow.
func (a *Adapter) secretChanged(user model.Ref) {
	if user.Kind == kindMapping {
		a.mappings.add(user.Key)
		return
	}
	select {
	case a.certificate <- struct{}{}:
	default:
	}
}

// followSecrets runs the watches of Secrets, and keeps the gateway's default certificate as its Secret has it.
func (a *Adapter) followSecrets(ctx context.Context) error {
	if a.secrets == nil {
		return nil
	}
	a.secrets.Run(ctx)
	if a.options.DefaultCertificate == (model.Key{}) {
		return nil
	}
	for last := ""; ; {
		pair, problem := a.secrets.Read(ctx, gatewayCertificate, a.options.DefaultCertificate)
		if pair != nil {
			a.assembler.SetDefaultCertificate(model.Certificate{
				Name: a.options.DefaultCertificate.String(), Chain: pair.Chain, Key: pair.Key,
			})
		}
		if problem != last && problem != "" {
			a.log.Error("the default certificate of the gateway is not as it should be", "problem", problem, "served", pair != nil)
		}
		last = problem
		a.barrier.Settle(gatewayCertificate)
		select {
		case <-ctx.Done():
			return nil
		case <-a.certificate:
		}
	}
}
