package loop

import (
	"encoding/json"
	"fmt"
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
	"sluice.dev/sluice/model"
)

// MaxKept is the largest form in which a history is kept, in bytes.
const MaxKept = 2*forecast.MaxBytes + 1024

// kept is the form in which a history is kept.
type kept struct {
	Metric  model.Metric    `json:"metric"`
	Starts  []time.Duration `json:"startsNanoseconds,omitempty"`
	History []byte          `json:"history"`
}

// encode returns a history as it is kept.
func (p *past) encode() []byte {
	history, _ := p.history.MarshalBinary() // it never fails
	out, _ := json.Marshal(kept{p.metric, p.starts, history})
	return out
}

// decode reads a history that was kept.
func (p *past) decode(data []byte) error {
	if len(data) > MaxKept {
		return fmt.Errorf("it has %d bytes, and at most %d can be", len(data), MaxKept)
	}
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return err
	}
	if err := p.history.UnmarshalBinary(k.History); err != nil {
		return err
	}
	p.metric = k.Metric
	for _, d := range k.Starts {
		if d > 0 && d < time.Hour && len(p.starts) < starts {
			p.starts = append(p.starts, d)
		}
	}
	return nil
}
