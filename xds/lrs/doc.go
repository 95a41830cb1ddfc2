// Package lrs is the load reporting service: it asks clients for reports at an interval, reads the reports and passes them on as
// values.
//
// It must not know resources, nor what load means to Sluice. A Gate decides who may report.
package lrs
