package loops

import (
	"slices"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds/resource"
)

func TestLastActivatorStaysNamedUnlessItSaysThatItEnds(t *testing.T) {
	own, other := model.Endpoint{Host: "127.0.0.1", Port: 8012}, model.Endpoint{Host: "127.0.0.2", Port: 8012}
	for name, c := range map[string]struct {
		own   []model.Endpoint
		nodes []resource.Node
		want  []model.Endpoint
		known bool
	}{
		"our own alone": {own: []model.Endpoint{own}, want: []model.Endpoint{own}, known: true},
		"another beside it": {[]model.Endpoint{own},
			[]resource.Node{{ID: "b", Address: "127.0.0.2:8012"}, {ID: "c", Address: "127.0.0.1:8012"}}, []model.Endpoint{own, other},
			true},
		"one that is to end": {nodes: []resource.Node{{ID: "b"}}, known: true},
		"none is connected":  {},
	} {
		t.Run(name, func(t *testing.T) {
			got, known := activatorsOf(c.own, c.nodes)
			if !slices.Equal(got, c.want) || known != c.known {
				t.Errorf("got %v, known %t; want %v, %t", got, known, c.want, c.known)
			}
		})
	}
}
