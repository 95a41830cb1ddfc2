package client

import (
	"testing"
	"time"
)

func TestPausesGrowToABoundWithJitter(t *testing.T) {
	p := newBackOff()
	nominal := time.Duration(0)
	distinct := map[time.Duration]bool{}
	for range 30 {
		nominal = min(max(time.Duration(float64(nominal)*pauseFactor), minPause), maxPause)
		got := p.NextBackOff()
		distinct[got] = true
		if got < nominal/2 || got > nominal {
			t.Errorf("pause of %v, want %v to %v", got, nominal/2, nominal)
		}
	}
	if nominal != maxPause || len(distinct) < 10 {
		t.Errorf("the last pause is %v of %v; %d different ones", nominal, maxPause, len(distinct))
	}
	p.Reset()
	if got := p.NextBackOff(); got > minPause {
		t.Errorf("first pause after a success is %v", got)
	}
}
