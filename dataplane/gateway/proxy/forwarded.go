package proxy

import (
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// setScheme sets the header that says by which scheme the client came. Routes may ask for it. A trusted proxy in front knows the scheme; a
// client may claim any.
func (m *Manager) setScheme(r *http.Request) {
	if len(r.Header["X-Forwarded-Proto"]) == 0 || m.Edge && m.TrustedHops == 0 {
		r.Header["X-Forwarded-Proto"] = []string{settings.Scheme(r)}
	}
}

// forwarded sets the header that tells the upstream of the client.
func (m *Manager) forwarded(h http.Header, in *http.Request) {
	if m.AppendForwardedFor {
		peer := remoteIP(in)
		if prior := h["X-Forwarded-For"]; len(prior) > 0 {
			peer = strings.Join(prior, ",") + "," + peer
		}
		h["X-Forwarded-For"] = []string{peer}
	}
}

func remoteIP(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// setRequestID gives the request an x-request-id where the configuration says so. At the edge it replaces that of a client, so that nobody
// can forge the trace of another.
func (m *Manager) setRequestID(h http.Header) {
	if !m.RequestID {
		return
	}
	if len(h["X-Request-Id"]) > 0 && !m.OverwriteRequestID {
		return
	}
	h["X-Request-Id"] = []string{newRequestID()}
}

// newRequestID is a random UUID (RFC 9562, version 4).
func newRequestID() string {
	var id [16]byte
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		id[i], id[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	var text [36]byte
	for i, part := range [...][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		hex.Encode(text[2*part[0]+i:], id[part[0]:part[1]])
		if i < 4 {
			text[2*part[1]+i] = '-'
		}
	}
	return string(text[:])
}
