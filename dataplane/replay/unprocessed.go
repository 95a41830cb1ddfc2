package replay

import "strings"

// Unprocessed reports whether an error of net/http's transport proves that an HTTP/2 server has not processed a request and will not. The
// server refused the stream, or was closing the connection when the request was on its way (RFC 9113, sections 5.1.2 and 6.8). Or the
// transport found the connection closed before it opened a stream: it was never established, or the body could not be rewound for
// another connection. The types of these errors are not exported by net/http.
func Unprocessed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "REFUSED_STREAM") || strings.Contains(text, "graceful shutdown GOAWAY") ||
		strings.Contains(text, "cannot rewind body after connection loss") ||
		strings.Contains(text, "client conn could not be established")
}
