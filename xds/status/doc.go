// Package status asks an xDS server what its clients have (CSDS), and finds what differs from what they should have. It is the
// client side of what package xds tells, in plain values; it must not know how they are shown.
package status
