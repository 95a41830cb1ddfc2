// Package status asks an xDS server what its clients have (CSDS), and finds what differs from what they should have. It is the client
// side of package csds, in plain values. It must not know how they are shown.
package status
