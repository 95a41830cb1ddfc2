// Package framing enforces on the clients of an HTTP/1 server where each of their requests ends. A Conn parses what it reads and
// delivers nothing after the first malformed byte. What follows a malformed chunk, or a head with two lengths, is thus never taken for
// another request, however the server parses it. When a request is answered before its body has arrived, the rest of the body is read up
// to a bound of bytes and time.
//
// net/http does neither by itself once both sides of an exchange may stream (http.ResponseController.EnableFullDuplex), and it does not
// report that a request had both a Content-Length and a Transfer-Encoding. The package knows the syntax of RFC 9112. It must not know
// what is served. HTTP/2 passes it unchanged.
package framing
