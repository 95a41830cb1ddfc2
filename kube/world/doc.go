// Package world builds Worlds: routes, backends, mappings and certificates in, complete Worlds out.
//
// The Assembler holds the pieces of the newest World, and knows which of them every gateway has acknowledged. Backing knows which revisions
// activators back. The Barrier holds the first World back until it is complete, and FirstWorld says what it waits for. The package must not
// know the API server, Envoy or xDS.
package world
