package rollout

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

func TestUnderWayListsWhatHasNotEnded(t *testing.T) {
	route := &model.RouteSpec{Key: model.Key{Namespace: "default", Name: "hello"}, Rollout: `{"configurations":[
		{"configurationName":"done","percent":40,"revisions":[{"revisionName":"done-1","percent":40}],"stepParams":{}},
		{"configurationName":"hello","percent":60,"revisions":[{"revisionName":"hello-1","percent":50},{"revisionName":"hello-2","percent":10}],
		 "stepParams":{"starttime":1000000000,"nextStepTime":7000000000,"stepDuration":2000000000,"stepSize":9}}]}`}
	want := []Shift{{
		Configuration: "hello", Step: 9, Next: time.Unix(7, 0).UTC(),
		Shares: []model.Share{{Revision: model.Key{Namespace: "default", Name: "hello-1"}, Percent: 50},
			{Revision: model.Key{Namespace: "default", Name: "hello-2"}, Percent: 10}},
	}}
	if diff := cmp.Diff(want, UnderWay(route)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := UnderWay(&model.RouteSpec{Rollout: "{"}); got != nil {
		t.Errorf("of a state that cannot be read came %v", got)
	}
}

// What a plan writes into a status leads back to the settings that it was made with.
func TestOptionsOfAStatusGiveTheSameHosts(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		local   bool
	}{
		"defaults":      {options: Options{}},
		"all of it set": {options: Options{Domain: "example.com", ClusterDomain: "corp.internal", Scheme: "https", Port: 8443}},
		"cluster-local": {options: Options{ClusterDomain: "corp.internal"}, local: true},
	} {
		t.Run(name, func(t *testing.T) {
			route := &model.RouteSpec{Key: model.Key{Namespace: "default", Name: "hello"}, ClusterLocal: c.local}
			plan := Route(RouteInput{Route: route, Options: c.options})
			route.URL, route.Address = plan.URL, plan.Address
			wantExternal, wantLocal := c.options.Hosts(route, "blue")
			external, local := OptionsOf(route).Hosts(route, "blue")
			if diff := cmp.Diff([][]string{wantExternal, wantLocal}, [][]string{external, local}); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
