// Package lrs is the load reporting service: it tells clients what to report and how often, reads their reports and passes them on
// as values.
//
// It must not know resources, nor what load means to Sluice. Who may report is decided by whoever makes a Handler.
package lrs
