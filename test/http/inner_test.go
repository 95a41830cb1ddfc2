package http

// inner are the rows that do not hold for an activator or a queue-proxy, with the reasons. A gateway has filtered the requests that they
// get.
var inner = []struct{ row, activator, queueProxy string }{
	{"HTTP/1.0 without a host is refused", theGateway, theGateway},
	{"A host with a dot at its end is found, and passed on without it", theGateway, theGateway},
	{"An unknown host gets 404", anyHost, anyHost},
	{"A client that stalls in its body gets 404 if its host is unknown", anyHost, anyHost},
	{"Trailers of a request pass unannounced", "", "net/http sends those that were announced"},
	{"An upgrade to anything else is refused", theGateway, theGateway},
	{"An offer of h2c is not taken up", "", theGateway},
	{"OPTIONS * gets 404", "it passes; the gateway answers", "it passes; the gateway answers"},
	{"A request without an X-Request-Id gets one", theGateway, theGateway},
	{"The X-Request-Id of a client is replaced", theGateway, theGateway},
	{"X-Forwarded-For gets the client's address", "it passes as it is: applications should not see the activator", ""},
	{"X-Forwarded-Proto is what the client has used", theGateway, theGateway},
	{"A fragment is refused", theGateway, theGateway},
	{"A percent sign that escapes nothing passes", "net/http answers 400", "net/http answers 400"},
	{"HTTP/2 without TLS is answered", sameProtocol, ""},
	{"Trailers of a request of HTTP/2 pass", sameProtocol, ""},
	{"A WebSocket over HTTP/2 passes bytes of both sides", "it is not offered; gateways ask in HTTP/1.1", "it is not offered; gateways ask in HTTP/1.1"},
}

const (
	theGateway   = "the gateway does this"
	anyHost      = "the gateway's headers name the revision, and the host does not matter"
	sameProtocol = "the gateway has chosen the protocol, which is the replica's"
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
