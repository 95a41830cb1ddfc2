package send

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/taskclient"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/task"
)

// The exit codes of --follow, besides 0 and 1.
const (
	exitFailed    = 3
	exitCancelled = 4
)

// follow sends the request, and follows the task that it becomes to its end. The states go to log, the result to out.
func follow(client *http.Client, r *http.Request, out, log io.Writer) error {
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("sending the event: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	_ = resp.Body.Close() // the body was read
	id := resp.Header.Get(contract.TaskHeader)
	switch {
	case resp.StatusCode >= http.StatusMultipleChoices:
		_, _ = out.Write(body) // the error says that the event was not accepted
		return errors.New("the event was not accepted: " + resp.Status)
	case err != nil:
		return fmt.Errorf("reading the reply: %w", err)
	case resp.StatusCode != http.StatusAccepted || id == "":
		_, _ = out.Write(body) // as above
		return fmt.Errorf("the reply is %s and no task: only services of the class event.sluice.dev keep tasks, so leave out --follow",
			resp.Status)
	}
	c := taskclient.Client{Gateway: r.URL.Scheme + "://" + r.URL.Host, Host: r.Host, HTTP: client}
	v, err := c.Follow(r.Context(), id, func(v *intake.View) { fmt.Fprintln(log, id, taskclient.State(&v.Task)) })
	if err != nil {
		return err
	}
	if v.Result != "" {
		err = c.WriteResult(r.Context(), id, out)
	}
	switch v.State {
	case task.Failed:
		return command.Exit{Code: exitFailed, Err: fmt.Errorf("the task %s failed: %s", id, v.Why)}
	case task.Cancelled:
		return command.Exit{Code: exitCancelled, Err: fmt.Errorf("the task %s was cancelled", id)}
	}
	return err
}
