// Package simulate says what a policy would do with a load before it is deployed. It calls autoscaler.Decide, the function that scales
// revisions, with a model of requests and replicas in place of real ones.
//
// The model is small on purpose; docs/simulate.md has its limits. Requests arrive evenly. Each takes one of the containerConcurrency
// slots of a ready replica for a fixed time, or waits for a slot, first come, first served, until it times out. A replica is ready a
// fixed time, plus a random part by seed, after it was asked for. Load is measured once a second. Decide is called on every second
// tick, as in production, and at once when a request finds no replica.
//
// Schedules and forecasts take part as they do in production: each proposes a count, and the largest one wins.
//
// The package is pure: a load and a policy are values, and so is the result. It must not know a clock, a file or Kubernetes; what is
// random depends on the seed alone. Package chart draws.
package simulate
