// Package certificate follows certificates, keys and authorities in PEM files: what they hold is read again when it changes, and
// what does not fit together is never taken over. Who serves TLS asks at each handshake, so that connections that exist are left
// alone; who passes certificates on is called when there are new ones.
//
// The package must not know what is served with them, nor to whom.
package certificate
