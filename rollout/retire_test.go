package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// idle are n revisions that no Route names, hello-00001 being the one without a Route the longest; all are age old.
func idle(n int, age time.Duration) []*model.Revision {
	out := revs(n)
	for i, r := range out {
		r.Routing = model.RoutingReserve
		r.Created = epoch.Add(-age)
		r.RoutingSince = epoch.Add(-age + time.Duration(i)*time.Second)
	}
	return out
}

// but returns the default rules with the fields of r that are not 0.
func but(r Retention) *Retention {
	d := DefaultRetention()
	return &Retention{
		SinceCreated: cmp.Or(r.SinceCreated, d.SinceCreated), SinceActive: cmp.Or(r.SinceActive, d.SinceActive),
		Min: cmp.Or(r.Min, d.Min), Max: cmp.Or(r.Max, d.Max),
	}
}

func TestRetire(t *testing.T) {
	const old = 100 * time.Hour
	first := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("hello-%05d", i+1))
		}
		return out
	}
	for name, c := range map[string]struct {
		revisions []*model.Revision
		rules     *Retention
		change    func([]*model.Revision)
		want      []string
	}{
		"20 are kept however old": {idle(20, old), nil, nil, nil},
		"the oldest beyond 20 go": {idle(23, old), nil, nil, first(3)},
		"young ones stay":         {idle(23, 47*time.Hour), nil, nil, nil},
		"48 hours are old enough": {idle(23, 48*time.Hour+time.Minute), nil, nil, first(3)},
		"recently routed ones stay": {idle(23, old), nil,
			func(r []*model.Revision) { r[1].RoutingSince = epoch.Add(-14 * time.Hour) },
			[]string{"hello-00001", "hello-00003", "hello-00004"}},
		"routed ones stay": {idle(23, old), nil, func(r []*model.Revision) { r[0].Routing = model.RoutingActive },
			[]string{"hello-00002", "hello-00003"}},
		"unlabelled ones stay": {idle(23, old), nil,
			func(r []*model.Revision) { r[0].Routing = ""; r[1].Routing = model.RoutingPending }, []string{"hello-00003"}},
		"preserved ones stay": {idle(23, old), nil, func(r []*model.Revision) { r[0].Preserved = true },
			[]string{"hello-00002", "hello-00003"}},
		"the latest ready one stays": {idle(23, old), but(Retention{Min: Disabled}),
			func(r []*model.Revision) { r[0].Key.Name = "ready" }, first(23)[1:]},
		"the latest created one stays": {idle(23, old), but(Retention{Min: Disabled}),
			func(r []*model.Revision) { r[0].Key.Name = "hello-02000" }, first(23)[1:]},
		"1000 is the most":         {idle(1003, time.Hour), nil, nil, first(3)},
		"the most may be less":     {idle(8, time.Hour), but(Retention{Max: 5}), nil, first(3)},
		"the most may be disabled": {idle(1003, time.Hour), but(Retention{Max: Disabled}), nil, nil},
		"ages may be disabled":     {idle(23, old), but(Retention{SinceCreated: Disabled, SinceActive: Disabled}), nil, nil},
		"one age may be disabled":  {idle(23, 20*time.Hour), but(Retention{SinceCreated: Disabled}), nil, first(3)},
		"0 is 0":                   {idle(3, time.Minute), &Retention{}, nil, first(3)},
		"none need be kept":        {idle(3, old), but(Retention{Min: Disabled}), nil, first(3)},
		"other configurations are not ours": {idle(23, old), nil, func(r []*model.Revision) { r[0].Configuration = "other" },
			[]string{"hello-00002", "hello-00003"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.revisions)
			}
			slices.Reverse(c.revisions)
			var got []string
			for _, r := range Retire(config(2000, "ready"), c.revisions, c.rules, epoch) {
				got = append(got, r.Key.Name)
			}
			check(t, "retired", got, c.want)
		})
	}
}
