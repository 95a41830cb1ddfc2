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
		first.end(learnt)
		first.begin(hangUp)
		time.Sleep(50 * time.Millisecond)
		first.read(0, errAppGone) // the application closes it

		hungUp := false
		second.end(learnt)
		second.begin(func() error { hungUp = true; return nil })
		time.Sleep(25*time.Millisecond - 1)
		if synctest.Wait(); hungUp || !second.end(learnt) {
			t.Error("a connection is given up before half of the time for which the application keeps one")
		}
		second.read(1, nil)
		second.begin(func() error { hungUp = true; return nil })
		time.Sleep(25 * time.Millisecond)
		if synctest.Wait(); !hungUp || second.end(learnt) {
			t.Error("a connection takes a request after half of the time for which the application keeps one")
		}
	})
}

func TestConnectionThatIsClosedOnARequestCountsAsIdleBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		learnt := &reuse{}
		var i idleness
		i.end(learnt)
		i.begin(func() error { return nil })
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
		if learnt.forget(); learnt.limit() != 0 {
			t.Error("what was learnt of an application that is gone is kept")
		}
	})
}
