package taskclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"sluice.dev/sluice/event/intake"
)

// The waits between two questions for a task grow between these.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Follow asks for a task until it has ended, and calls seen when its state or the number of its tries has changed. A server that does not
// answer, such as during its restart, is asked again until ctx ends.
func (c *Client) Follow(ctx context.Context, id string, seen func(*intake.View)) (intake.View, error) {
	last := intake.View{}
	var wrong error
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		v, err := c.Get(ctx, id)
		var refused *refusedError
		switch {
		case err == nil:
			if v.State != last.State || len(v.Tries) != len(last.Tries) {
				seen(&v)
				pause = firstPause
			}
			if last, wrong = v, nil; !v.State.Open() {
				return v, nil
			}
		case errors.As(err, &refused) && refused.status < http.StatusInternalServerError:
			return last, err
		case ctx.Err() == nil:
			wrong = err
		}
		select {
		case <-ctx.Done():
			if wrong != nil {
				return last, wrong
			}
			return last, fmt.Errorf("following the task %s: it has not ended in time, and goes on: see sluice tasks show", id)
		case <-time.After(pause):
		}
	}
}
