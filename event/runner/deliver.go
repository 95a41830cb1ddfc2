package runner

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

func (r *Runner) enterDelivery(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.delivering[id] || len(r.delivering) >= r.o.Deliveries {
		return false
	}
	r.delivering[id] = true
	return true
}

// deliver sends what of a task is due, once.
func (r *Runner) deliver(ctx context.Context, t task.Task) {
	defer func() {
		r.mu.Lock()
		delete(r.delivering, t.ID)
		r.mu.Unlock()
		r.again()
	}()
	for _, d := range t.Deliveries {
		if d.Due.IsZero() || d.Due.After(time.Now()) {
			continue
		}
		header, body, err := r.message(ctx, &t, d.Letter)
		final := err != nil
		if err == nil {
			final, err = r.o.Deliver(ctx, d.URL, header, body)
		}
		if ctx.Err() != nil {
			return // nothing is known of it, and the next process sends it again
		}
		after, wrong := r.change(ctx, t.ID, nil, func(t *task.Task) error {
			return t.Delivered(task.Sent{Now: time.Now(), Random: rand.Float64(), Letter: d.Letter, Wrong: err, Final: final})
		})
		if wrong != nil {
			return
		}
		r.stats.delivered(&after, d.Letter, err)
		if err != nil {
			r.o.Logger.Debug("a result could not be delivered", "task", t.ID, "letter", d.Letter, "final", final, "error", err)
		}
	}
}

// message is what is sent: the result, or the request as a dead letter.
func (r *Runner) message(ctx context.Context, t *task.Task, letter bool) (http.Header, []byte, error) {
	header := http.Header{}
	var body []byte
	if letter {
		request, err := r.o.Store.Request(ctx, t.ID)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(header, request.Header)
		for _, secret := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			header.Del(secret) // they are for the application, not for whom the client names
		}
		body = request.Body
	} else {
		switch result, err := r.o.Store.Result(ctx, t.ID); {
		case err == nil:
			if kind := http.Header(result.Header)["Content-Type"]; kind != nil {
				header["Content-Type"] = kind
			}
			for name, values := range result.Header {
				if len(name) > 3 && name[:3] == "Ce-" {
					header[name] = values // a CloudEvent is answered by another one
				}
			}
			body = result.Body
		case !errors.Is(err, store.ErrNotFound):
			return nil, nil, err
		}
	}
	header.Set(contract.TaskHeader, t.ID)
	header.Set(contract.StateHeader, string(t.State))
	if t.Status != 0 {
		header.Set(contract.StatusHeader, strconv.Itoa(t.Status))
	}
	if t.Why != "" {
		header.Set(contract.WhyHeader, oneLine(t.Why))
	}
	return header, body, nil
}

// oneLine makes a text fit for a header.
func oneLine(text string) string {
	const most = 500
	line := make([]byte, 0, min(len(text), most))
	for i := 0; i < len(text) && len(line) < most; i++ {
		if c := text[i]; c >= ' ' && c < 0x7f {
			line = append(line, c)
		} else {
			line = append(line, ' ')
		}
	}
	return string(line)
}
