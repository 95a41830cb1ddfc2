package loop_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/model"
)

// tasks has an activator report that some tasks wait and some run.
func (p *plant) tasks(activator string, waiting, running float64) {
	p.Report(loop.Report{Reporter: activator, Activator: true, Loads: []loop.Load{
		{Revision: hello, Waiting: waiting, InFlight: waiting + running, Concurrency: waiting + running},
	}})
	synctest.Wait()
}

// runTasks runs a test with a revision of the class for tasks, which sleeps.
func runTasks(t *testing.T, annotations map[string]string, test func(p *plant)) {
	t.Helper()
	all := map[string]string{"autoscaling.knative.dev/class": "event.sluice.dev"}
	for k, v := range annotations {
		all[k] = v
	}
	runWith(t, time.Second, loop.Options{}, func(p *plant) {
		p.Set(model.Scaled{Revision: hello, UID: "1", Annotations: all,
			Before: model.Before{Replicas: 0, Active: model.False, Initialized: true}})
		synctest.Wait()
		test(p)
	})
}

func TestTasksOfAllActivatorsMakeTheCount(t *testing.T) {
	runTasks(t, nil, func(p *plant) {
		p.tasks("a", 3, 0)
		p.want("the first activator's", 3) // at once: the clock has not moved
		p.tasks("b", 1, 1)
		p.want("and the second's", 5)
		if why := p.decision().Why(); !strings.Contains(why, "tasks asks for 5: 4 wait and 1 run") {
			t.Errorf("the why is %q", why)
		}
		if d := p.decision(); d.Via != model.ViaActivator {
			t.Errorf("requests come by %v", d.Via)
		}
		time.Sleep(2 * time.Second)
		p.tasks("a", 0, 3)
		p.tasks("b", 0, 2)
		p.want("when all of them run", 5)
		p.tasks("a", 0, 1)
		p.tasks("b", 0, 0)
		time.Sleep(4 * time.Second)
		p.want("within the idle time", 5)
		time.Sleep(2 * time.Second)
		p.want("after it", 1)
		p.tasks("a", 0, 0)
		time.Sleep(8 * time.Second)
		p.want("without tasks", 0)
	})
}

func TestTasksAreNotForgottenWithTheirActivator(t *testing.T) {
	runTasks(t, nil, func(p *plant) {
		p.tasks("a", 4, 0)
		p.want("at first", 4)
		p.Report(loop.Report{Reporter: "a", Activator: true, Ended: true})
		time.Sleep(time.Minute)
		p.want("while no activator reports", 4)
		p.tasks("b", 0, 0)
		time.Sleep(3 * time.Second)
		p.want("when one does, for the idle time", 4)
		time.Sleep(5 * time.Second)
		p.want("after it", 0)
	})
}

func TestTasksWithinTheBounds(t *testing.T) {
	runTasks(t, map[string]string{
		"autoscaling.knative.dev/max-scale": "6", "autoscaling.knative.dev/activation-scale": "2",
	}, func(p *plant) {
		p.tasks("a", 1, 0)
		p.want("activation-scale", 2)
		p.tasks("a", 100, 0)
		p.want("max-scale", 6)
		if why := p.decision().Why(); !strings.Contains(why, "tasks asks for 100: 100 wait") {
			t.Errorf("the why is %q", why)
		}
		p.Propose(hello, "1", model.Proposal{Signal: "elsewhere", Replicas: 3})
		p.tasks("a", 0, 0)
		time.Sleep(8 * time.Second)
		p.want("another signal", 3)
	})
}
