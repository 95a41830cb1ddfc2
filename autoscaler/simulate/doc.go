// Package simulate says what a policy would do with a load before it is deployed: it feeds autoscaler.Decide, the
// very function that scales revisions, from a model of requests and replicas in place of real ones.
//
// The model is small on purpose, and docs/simulate.md tells its limits. Requests arrive evenly; each takes a fixed
// time of one of containerConcurrency slots of a ready replica, or waits for one, first come, first served, until it
// times out. A replica is ready a fixed time, plus a random part by seed, after it was asked for. Load is measured once a
// second and decided on every other one, as in production, and at once when a request finds no replica.
//
// It is pure: a load and a policy are values, and so is the result. It must know no clock, no file and no
// Kubernetes; what is random depends on the seed alone. Package chart beside it draws.
package simulate
