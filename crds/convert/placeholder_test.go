package convert_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestAPlaceholderFollowsTheMetadataOfItsRoute(t *testing.T) {
	route := func(labels, annotations map[string]string) *servingv1.Route {
		return &servingv1.Route{ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: "default", Labels: labels,
			Annotations: annotations}}
	}
	of := func(r *servingv1.Route) bool {
		have := convert.PlaceholderOf(route(map[string]string{"team": "blue"}, map[string]string{"a": "1"}), "hello", "gateway.example.com")
		have.Labels["mine"], have.Annotations["mine"] = "x", "x" // a user's
		return convert.LeadsTo(have, convert.PlaceholderOf(r, "hello", "gateway.example.com"))
	}
	for _, test := range []struct {
		name                string
		labels, annotations map[string]string
		want                bool
	}{
		{"nothing changed", map[string]string{"team": "blue"}, map[string]string{"a": "1"}, true},
		{"another label", map[string]string{"team": "red"}, map[string]string{"a": "1"}, false},
		{"one more annotation", map[string]string{"team": "blue"}, map[string]string{"a": "1", "b": ""}, false},
		{"another annotation", map[string]string{"team": "blue"}, map[string]string{"a": "2"}, false},
		{"one annotation less", map[string]string{"team": "blue"}, nil, true},
		{"what kubectl applied", map[string]string{"team": "blue"}, map[string]string{"a": "1", servingv1.LastAppliedAnnotation: "{}"},
			true},
	} {
		if got := of(route(test.labels, test.annotations)); got != test.want {
			t.Errorf("%s: the placeholder is as it should be: %t, want %t", test.name, got, test.want)
		}
	}
}
