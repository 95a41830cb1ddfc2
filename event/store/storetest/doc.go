// Package storetest is what every store of tasks must pass: one test for each promise of store.Store.
package storetest
