package http

// inner are the rows that do not hold for an activator or a queue-proxy, with the reasons. A gateway has filtered the requests that they
// get.
var inner = []struct{ row, activator, queueProxy string }{
	{"A request of HTTP/1.0 without a host is refused", theGateway, theGateway},
	{"A host with a dot at its end is found, and passed on without the dot", theGateway, theGateway},
	{"An unknown host gets 404", anyHost, anyHost},
	{"A client that stalls in its body gets 404 if its host is unknown", anyHost, anyHost},
	{"Unannounced trailers of a request pass", "", "net/http sends only trailers that were announced"},
	{"An upgrade to anything else is refused", theGateway, theGateway},
	{"An offer to upgrade to h2c is ignored", "", theGateway},
	{"OPTIONS * gets 404", "the gateway answers it", "the gateway answers it"},
	{"A request without an X-Request-Id gets one", theGateway, theGateway},
	{"The X-Request-Id of a client is replaced", theGateway, theGateway},
	{"X-Forwarded-For gets the client's address", "it passes the header unchanged, so that applications do not see the activator", ""},
	{"X-Forwarded-Proto is the scheme that the client used", theGateway, theGateway},
	{"A fragment is refused", theGateway, theGateway},
	{"A percent sign that escapes nothing passes", "net/http answers 400", "net/http answers 400"},
	{"HTTP/2 without TLS is answered", sameProtocol, ""},
	{"Trailers of a request of HTTP/2 pass", sameProtocol, ""},
	{"A WebSocket over HTTP/2 passes bytes in both directions", notOffered, notOffered},
}

const (
	theGateway   = "the gateway does this"
	anyHost      = "it finds the revision by the gateway's headers, whatever the host is"
	notOffered   = "it does not offer this, and gateways use HTTP/1.1 for WebSockets"
	sameProtocol = "the gateway uses the protocol of the replica"
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
