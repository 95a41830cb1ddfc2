package model

// InternalHeaders are those by which parts of a platform with Knative's names speak to each other, in canonical form. Whoever is not
// one of them must not: gateways remove them from what clients send, and nothing after a gateway goes by them but for ProxyHeader,
// which has to be proved.
var InternalHeaders = []string{ProxyHeader, "K-Original-Host", "K-Network-Probe", "K-Network-Hash", "K-Kubelet-Probe"}

// ProxyHeader says to a queue-proxy that an activator counts the request.
const ProxyHeader = "K-Proxy-Request"

// ProxyProof is the value of ProxyHeader by which a queue-proxy knows an activator of its own installation: nobody else has the token.
// Without one it is Knative's.
func ProxyProof(token string) string {
	if token == "" {
		return "activator"
	}
	return "activator " + token
}
