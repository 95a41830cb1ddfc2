package queueproxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestIdleConnectionIsClosedBeforeTheApplicationDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		application := &reuse{}
		var first, second idleness
		closeConn := func() error { t.Error("a connection is closed before the application closed one"); return nil }
		turn, _ := first.end(application)
		first.begin(turn, closeConn)
		time.Sleep(50 * time.Millisecond)
		first.read(0, errAppGone) // the application closes it

		closed := false
		turn, _ = second.end(application)
		second.begin(turn, func() error { closed = true; return nil })
		time.Sleep(25*time.Millisecond - 1)
		synctest.Wait()
		turn, may := second.end(application)
		if closed || !may {
			t.Error("a connection is given up before half of the time for which the application keeps one")
		}
		second.read(1, nil)
		second.begin(turn, func() error { closed = true; return nil })
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		if _, may := second.end(application); !closed || may {
			t.Error("a connection takes a request after half of the time for which the application keeps one")
		}
	})
}

// The transport says that a connection is idle after others may have taken it.
func TestConnectionWithARequestIsNotRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		application := &reuse{}
		application.closedAfter(50 * time.Millisecond)
		var i idleness
		first, _ := i.end(application)
		second, _ := i.end(application)
		i.begin(first, func() error { t.Error("the connection is closed under its second request"); return nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		i.begin(second, func() error { return nil })
		if _, may := i.end(application); !may {
			t.Error("a connection that was idle for no time takes no request")
		}
	})
}

func TestConnectionThatIsClosedOnARequestCountsAsIdleBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		application := &reuse{}
		var i idleness
		turn, _ := i.end(application)
		i.begin(turn, func() error { return nil })
		time.Sleep(40 * time.Millisecond)
		i.end(application)
		time.Sleep(time.Second)
		i.read(0, errAppGone)
		if application.limit() != 20*time.Millisecond {
			t.Errorf("limit %v", application.limit())
		}
		i.end(application)
		i.read(1, nil)
		i.read(0, errAppGone) // in the middle of an answer
		if application.limit() != 20*time.Millisecond {
			t.Errorf("limit %v after a lost answer", application.limit())
		}
		if application.reset(); application.limit() != 0 {
			t.Error("the record of an application that is gone is kept")
		}
	})
}
