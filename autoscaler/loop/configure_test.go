package loop_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/autoscaler"
)

func TestConfigureWakesRevisionsByMinScale(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		p.Set(sleeping(nil))
		p.want("before", 0)
		c := autoscaler.DefaultConfig()
		c.MinScale = 2
		p.Configure(c)
		p.want("with a min-scale in the configuration, at once", 2)
		time.Sleep(5 * time.Minute)
		p.want("without load", 2)
		p.Configure(autoscaler.DefaultConfig())
		time.Sleep(5 * time.Minute)
		p.want("without min-scale", 0)
	})
}

func TestConfigureKeepsLoadAndAnnotations(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		p.Set(sleeping(map[string]string{"autoscaling.knative.dev/max-scale": "5"}))
		p.hold(1, 1)
		p.want("a request waits", 1)
		p.idle()
		p.serve(140)
		time.Sleep(2 * time.Minute)
		p.want("140 requests at 70 for each replica, by the defaults", 2)
		c := autoscaler.DefaultConfig()
		c.ConcurrencyTarget, c.MaxScale = 50, 3
		p.Configure(c)
		// No second passes: the decision is by the load that is known.
		p.want("140 requests at 35 for each replica, where the annotation is over the configuration's max-scale of 3", 4)
	})
}

func TestConfigureWithTheSameDecidesNothing(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		p.Set(sleeping(nil))
		p.decision()
		before := p.decided()
		p.Configure(autoscaler.DefaultConfig())
		p.decision()
		if after := p.decided(); after != before {
			t.Errorf("%d decisions after the same configuration, %d before", after, before)
		}
	})
}

func TestConfigureWhileItRuns(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		p.Set(sleeping(nil))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 20 {
				c := autoscaler.DefaultConfig()
				c.MinScale = i % 3
				p.Configure(c)
				time.Sleep(700 * time.Millisecond)
			}
			c := autoscaler.DefaultConfig()
			c.MinScale = 3
			p.Configure(c)
		}()
		<-done
		synctest.Wait()
		p.want("the newest configuration counts", 3)
	})
}

func (p *plant) decided() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at)
}
