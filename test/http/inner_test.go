package http

// inner are the rows that do not hold for an activator or a queue-proxy, which get only what a gateway has let through, with their
// reasons.
var inner = []struct{ row, activator, queueProxy string }{
	{"HTTP/1.0 without a host is refused", theGateway, theGateway},
	{"A host with a dot at its end is found, and passed on without it", theGateway, theGateway},
	{"A host that is nobody's gets 404", anyHost, anyHost},
	{"A client that stalls in its body is told that its host is nobody's", anyHost, anyHost},
	{"Trailers of a request pass unannounced", "", "net/http sends those that were announced"},
	{"An upgrade to anything else is refused", theGateway, theGateway},
	{"An offer of h2c is not taken up", "", theGateway},
	{"OPTIONS * gets 404", "it passes; the gateway answers", "it passes; the gateway answers"},
	{"A request without an X-Request-Id gets one", theGateway, theGateway},
	{"The X-Request-Id of a client is replaced", theGateway, theGateway},
	{"X-Forwarded-For gets the client's address", "it passes as it is: an activator is no hop that applications know", ""},
	{"X-Forwarded-Proto is what the client has used", theGateway, theGateway},
	{"A fragment is refused", theGateway, theGateway},
	{"A percent sign that escapes nothing passes", "net/http answers 400", "net/http answers 400"},
	{"HTTP/2 without TLS is answered", sameProtocol, ""},
	{"Trailers of a request of HTTP/2 pass", sameProtocol, ""},
	{"A WebSocket over HTTP/2 passes bytes of both sides", "it is not offered; gateways ask in HTTP/1.1", "it is not offered; gateways ask in HTTP/1.1"},
}

const (
	theGateway   = "it is for the gateway to do"
	anyHost      = "whatever its host, a request is for the revision that the gateway has named"
	sameProtocol = "replicas get the protocol that the gateway has used, which is theirs"
)

// withInner gives rows the reasons of inner.
func withInner(rows []row) []row {
	for i, r := range rows {
		for _, reasons := range inner {
			if r.name == reasons.row {
				rows[i] = rows[i].except(activating, reasons.activator).except(queueProxy, reasons.queueProxy)
			}
		}
	}
	return rows
}
