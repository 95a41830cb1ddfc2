// Package feature holds the tests of what users see: each starts the real binary in an empty folder, talks to
// it over real sockets, and looks at what comes back. The list of its files reads as the manual.
package feature
