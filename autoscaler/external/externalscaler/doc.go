// Package externalscaler is the contract of KEDA's external scalers, generated from externalscaler.proto: what a client and a server of
// it need. Scalers that were written for KEDA serve it.
//
// The names of its messages are those of KEDA, so a program cannot link it together with KEDA's own package of that name.
package externalscaler

//go:generate sh -c "cd generate && go run . ../externalscaler.proto"
