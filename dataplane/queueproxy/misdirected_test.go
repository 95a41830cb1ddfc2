package queueproxy_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// The address of a replica that is gone may be another's by now.
func TestRequestForAnotherRevisionIsNotAnswered(t *testing.T) {
	target := application(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Knative-Serving-Namespace", "Knative-Serving-Revision"} {
			if got := r.Header.Values(name); len(got) > 0 {
				t.Errorf("the application got %s: %q", name, got)
			}
		}
	}))
	_, address := serve(t, queueproxy.Options{Target: target, Revision: model.Key{Namespace: "default", Name: "hello-00001"}})
	c := client(t, model.HTTP1)
	for name, test := range map[string]struct {
		namespace, revision string
		status              int
		reason              string
	}{
		"its own":           {"default", "hello-00001", 200, ""},
		"another":           {"default", "other-00001", 503, contract.ReasonUnsent},
		"another namespace": {"other", "hello-00001", 503, contract.ReasonUnsent},
		"whichever":         {"", "", 200, ""},
	} {
		request, err := http.NewRequest(http.MethodGet, "http://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.revision != "" {
			request.Header.Set("Knative-Serving-Namespace", test.namespace)
			request.Header.Set("Knative-Serving-Revision", test.revision)
		}
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		got := []any{response.StatusCode, response.Header.Get(contract.ReasonHeader)}
		if diff := cmp.Diff([]any{test.status, test.reason}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
