package replay

import "strings"

// Unprocessed is whether it is certain from the error of net/http's transport that an HTTP/2 server has done nothing with a request
// and will not: by its own word it refused the stream, or was closing the connection when the request was on its way (RFC 9113,
// sections 5.1.2 and 6.8); or the transport found the connection closed before it opened a stream, be it that it had never been
// established, be it that the body could not be rewound for another. The types of these errors cannot be named outside of net/http.
func Unprocessed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "REFUSED_STREAM") || strings.Contains(text, "graceful shutdown GOAWAY") ||
		strings.Contains(text, "cannot rewind body after connection loss") ||
		strings.Contains(text, "client conn could not be established")
}
