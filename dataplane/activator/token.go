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
	a.token.Store(&token)
	return nil
}

// proof is the value of contract.ProxyHeader.
func (a *Activator) proof() string {
	if token := a.token.Load(); token != nil {
		return contract.ProxyProof(*token)
	}
	return contract.ProxyProof("")
}
