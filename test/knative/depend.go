package knative

// go.mod must hold the modules of what the tests build by its import path. The suites' tests are behind a build tag; the last
// two are what they import beside what these packages import.
import (
	_ "github.com/davecgh/go-spew/spew"
	_ "go.opentelemetry.io/otel/sdk/trace"

	_ "knative.dev/serving/test/conformance/api/v1"
	_ "knative.dev/serving/test/conformance/runtime"
)
