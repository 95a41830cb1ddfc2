//go:build never

// This file is never built. It has `go mod tidy` keep what the tests build by its import path in go.mod: the suites, and what their
// tests import beside what these packages do.
package knative

import (
	_ "github.com/davecgh/go-spew/spew"
	_ "go.opentelemetry.io/otel/sdk/trace"

	_ "knative.dev/serving/test/conformance/api/v1"
	_ "knative.dev/serving/test/conformance/runtime"
)
