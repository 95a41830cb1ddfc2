package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
)

func TestPartThatDoesNotEndIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ended, forever := newStages(), false, make(chan struct{})
		s.start("first", func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return nil
		})
		s.start("second", func(context.Context) error {
			<-forever
			return nil
		})
		err := s.stop(nil)
		if err == nil || !strings.Contains(err.Error(), "second did not end") {
			t.Errorf("it ends with %v, want the part that did not", err)
		}
		if !ended {
			t.Error("what was started before it was not ended")
		}
		close(forever)
	})
}
