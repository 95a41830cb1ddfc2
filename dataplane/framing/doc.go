// Package framing holds the clients of an HTTP/1 server to where each of their requests ends. A Conn reads along, and hands on
// nothing behind the first byte that does not fit: what follows a malformed chunk, or a head that gives two lengths, is never taken for
// another request, whatever the server makes of it. When a request has been answered before its body has come, a bound of bytes and
// time holds for the rest.
//
// net/http does neither by itself once both sides of an exchange may stream (http.ResponseController.EnableFullDuplex), and it does not
// tell that a request had both a Content-Length and a Transfer-Encoding. The package knows the syntax of RFC 9112 and nothing of what
// is served. HTTP/2 passes it untouched.
package framing
