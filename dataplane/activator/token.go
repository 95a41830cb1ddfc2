package activator

import (
	"errors"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/model"
)

// tokenSecret is the name of the secret by which queue-proxies know that a request comes from an activator. Where there is none they
// believe whoever says so. It is never let go of: the last one holds while the control plane is away.
const tokenSecret = "activator"

// takeToken takes the secret. The error tells nothing of it.
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

// proof is the value of model.ProxyHeader for queue-proxies.
func (a *Activator) proof() string {
	if token := a.token.Load(); token != nil {
		return model.ProxyProof(*token)
	}
	return model.ProxyProof("")
}
