package queueproxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestIdleConnectionIsGivenUpBeforeTheApplicationWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		learnt := &reuse{}
		var first, second idleness
		hangUp := func() error { t.Error("a connection is given up before anything was learnt"); return nil }
		turn, _ := first.end(learnt)
		first.begin(turn, hangUp)
		time.Sleep(50 * time.Millisecond)
		first.read(0, errAppGone) // the application closes it

		hungUp := false
		turn, _ = second.end(learnt)
		second.begin(turn, func() error { hungUp = true; return nil })
		time.Sleep(25*time.Millisecond - 1)
		synctest.Wait()
		turn, may := second.end(learnt)
		if hungUp || !may {
			t.Error("a connection is given up before half of the time for which the application keeps one")
		}
		second.read(1, nil)
		second.begin(turn, func() error { hungUp = true; return nil })
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		if _, may := second.end(learnt); !hungUp || may {
			t.Error("a connection takes a request after half of the time for which the application keeps one")
		}
	})
}

// The transport says that a connection is idle after others may have taken it.
func TestConnectionWithARequestIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		learnt := &reuse{}
		learnt.closedAfter(50 * time.Millisecond)
		var i idleness
		first, _ := i.end(learnt)
		second, _ := i.end(learnt)
		i.begin(first, func() error { t.Error("the connection is closed under its second request"); return nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		i.begin(second, func() error { return nil })
		if _, may := i.end(learnt); !may {
			t.Error("a connection that was idle for no time takes no request")
		}
	})
}

func TestConnectionThatIsClosedOnARequestCountsAsIdleBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		learnt := &reuse{}
		var i idleness
		turn, _ := i.end(learnt)
		i.begin(turn, func() error { return nil })
		time.Sleep(40 * time.Millisecond)
		i.end(learnt)
		time.Sleep(time.Second)
		i.read(0, errAppGone)
		if learnt.limit() != 20*time.Millisecond {
			t.Errorf("limit %v", learnt.limit())
		}
		i.end(learnt)
		i.read(1, nil)
		i.read(0, errAppGone) // in the middle of an answer
		if learnt.limit() != 20*time.Millisecond {
			t.Errorf("limit %v after a lost answer", learnt.limit())
		}
		if learnt.reset(); learnt.limit() != 0 {
			t.Error("what was learnt of an application that is gone is kept")
		}
	})
}
