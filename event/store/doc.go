// Package store says what a store of tasks is: the interface that the intake and the runner use, its errors and its limits. Its rooms are
// the stores: bolt on one machine, and others for many gateways. storetest checks any of them.
package store
