package activator

import (
	"errors"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
)

// takeToken takes the secret by which queue-proxies recognise activators. Without one they believe whoever claims to be one. Its removal
// is not acted on: the last token stays valid while the control plane is away. The error reveals nothing of it.
func (a *Activator) takeToken(_ string, body []byte) error {
	m := &tlsv3.Secret{}
	if err := proto.Unmarshal(body, m); err != nil {
		return err
	}
	token := m.GetGenericSecret().GetSecret().GetInlineString()
	if token == "" {
		return errors.New("generic_secret.secret.inline_string: is empty")
	}
	a.signer.Store(contract.NewSigner(token))
	return nil
}

// proof is a value of contract.ProxyHeader, and who made it.
type proof struct {
	signer *contract.Signer
	value  string
}

// proof is the value of contract.ProxyHeader for a revision. It is made once, because a signature takes some 0.05 ms.
func (a *Activator) proof(r *revision) string {
	signer := a.signer.Load()
	if p := r.proof.Load(); p != nil && p.signer == signer {
		return p.value
	}
	p := &proof{signer: signer, value: signer.ProxyProof(r.name.namespace, r.name.name)}
	r.proof.Store(p)
	return p.value
}
