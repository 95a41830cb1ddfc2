package simulate

import (
	"strings"

	"sluice.dev/sluice/model"
)

// Strategy is a way to scale, as a simulation of it.
type Strategy struct {
	Name string
	Options
}

// Strategies returns the ways to scale that can be compared with a policy and a load: by the load alone, with the schedules, with a
// forecast, and with both. Without schedules there are two.
func Strategies(o Options) []Strategy {
	strategy := func(name string, scheduled bool, mode model.Predictive) Strategy {
		s := Strategy{name, o}
		s.Policy.Predictive = mode
		if !scheduled {
			s.Schedules = nil
		}
		return s
	}
	all := []Strategy{
		strategy("reactive", false, model.PredictiveOff),
		strategy("scheduled", true, model.PredictiveOff),
		strategy("predictive", false, model.PredictiveAuto),
		strategy("both", true, model.PredictiveAuto),
	}
	if len(o.Schedules) == 0 {
		return []Strategy{all[0], all[2]}
	}
	return all
}

// Describe sums the strategy up in a line: its policy and the names of its schedules.
func (s *Strategy) Describe() string {
	parts := []string{Describe(&s.Policy, s.Concurrency)}
	for _, one := range s.Schedules {
		parts = append(parts, one.Name())
	}
	return strings.Join(parts, ", ")
}
