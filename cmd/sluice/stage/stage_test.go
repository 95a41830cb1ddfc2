package stage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func untilTold(name string, ended *[]string) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		*ended = append(*ended, name)
		return ctx.Err()
	}
}

func TestPartsEndInTheReverseOrder(t *testing.T) {
	g, ended := NewGroup(), []string{}
	for _, name := range []string{"first", "second", "third"} {
		g.Start(name, untilTold(name, &ended))
	}
	if err := g.Stop(nil); err != nil || !slices.Equal(ended, []string{"third", "second", "first"}) {
		t.Errorf("they ended in the order %v, %v", ended, err)
	}
}

func TestPartThatDoesNotEndIsLeftRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ended, forever := NewGroup(), []string{}, make(chan struct{})
		g.Start("first", untilTold("first", &ended))
		g.Start("second", func(context.Context) error {
			<-forever
			return nil
		})
		err := g.Stop(nil)
		if err == nil || !strings.Contains(err.Error(), "second did not end") {
			t.Errorf("Stop returned %v, want the part that did not end", err)
		}
		if len(ended) == 0 {
			t.Error("the part that was started before it was not ended")
		}
		close(forever)
	})
}

func TestWaitReturnsWhatHappensFirst(t *testing.T) {
	failure, already := errors.New("no disk"), make(chan struct{})
	close(already)
	for name, c := range map[string]struct {
		run   func(context.Context) error
		ended bool
		until chan struct{}
		want  string
	}{
		"a part fails":        {run: func(context.Context) error { return failure }, want: "part: no disk"},
		"a part ends":         {run: func(context.Context) error { return nil }, want: "part: ended by itself"},
		"the context ends":    {ended: true},
		"what it waits until": {until: already},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGroup()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.ended {
				cancel()
			}
			if c.run == nil {
				c.run = untilTold("", new([]string))
			}
			g.Start("part", c.run)
			err := g.Wait(ctx, c.until)
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := g.Stop(err); !errors.Is(got, err) {
				t.Errorf("Stop returned %v, want the reason that it was given", got)
			}
		})
	}
}
