// Package convert turns API objects into the values of package model, makes the objects that others own, and turns plans
// into statuses.
//
// Its functions are pure: they get all that they need as arguments. So the package must not know a client, a clock, a network,
// or who plans.
package convert
