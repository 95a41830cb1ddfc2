//go:build !race

package feature

// raceDetector is whether the tests run under the race detector.
const raceDetector = false
