// Package binding is the controller of ScalerBindings: it finds the revisions that follow each, has a runner ask for their figures, and
// writes what the figures were to the status.
//
// A revision follows a ScalerBinding when the binding names or selects its Service, and a Route names the revision. The package must not
// know who asks for the figures, nor what becomes of them.
package binding
