package knative

// suite is one of Knative's conformance suites.
type suite struct {
	name    string // of the subtest that runs it
	pkg     string // import path of its tests
	args    []string
	skipped map[string]string // tests that do not pass, by full name, and why
}

// suites are run one after the other: both wait for replicas most of the time, and each runs its own tests in parallel.
var suites = []suite{
	{
		name: "api",
		pkg:  "knative.dev/serving/test/conformance/api/v1",
		args: []string{"-enable-beta"}, // several containers and emptyDir volumes, which Knative's defaults allow
		skipped: map[string]string{
			"TestServiceAccountValidation": "Sluice refuses the name, as the test wants, but the API server words the error: " +
				"the test asks for Knative's words, which contain a line break, and messages of CRD rules cannot contain one",
			"TestRevisionTimeout/writes_first_byte_before_timeout": "the response takes longer than timeoutSeconds: Knative ends it with " +
				"the words \"request timeout\", which the test takes for a complete answer, and Sluice cuts it off (docs/decisions/0004)",
		},
	},
	{
		name:    "runtime",
		pkg:     "knative.dev/serving/test/conformance/runtime",
		skipped: map[string]string{},
	},
}
