// Package convert turns API objects into the values of package model, makes the objects that others own, and writes what
// was planned back into statuses.
//
// It takes values and returns values: what a function needs is an argument, never looked up. So it must not know a
// client, a clock or a network, nor who plans.
package convert
