package taskclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/task"
)

const (
	// maxAnswer bounds what is read of an answer: a full page of tasks, or a result.
	maxAnswer = 64 << 20
	// maxWords bounds what is read of an answer that is an error.
	maxWords = 4 << 10
	// page is how many tasks the server lists at a time.
	page = 1000
)

// Client asks for tasks. The admin address is only for reading; what changes a task goes to a host of the task's namespace, at the gateway.
type Client struct {
	// Admin is the URL of the admin address of the process that keeps the tasks.
	Admin string
	// Gateway is the URL of the gateway. Host is the host to ask there; empty means that the admin address is asked for it.
	Gateway, Host string
	// HTTP sends the requests.
	HTTP *http.Client
}

// Filter says which tasks are listed. The zero value of a field excludes none.
type Filter struct {
	// Namespace and Revision, as namespace/name, are of whom.
	Namespace, Revision string
	State               task.State
	// Limit is how many at most; it is required.
	Limit int
}

// List returns tasks in the order of their acceptance, and whether there are more of them.
func (c *Client) List(ctx context.Context, f Filter) (tasks []intake.View, more bool, err error) {
	after := ""
	for {
		want := min(page, f.Limit+1-len(tasks)) // one more tells that there are more
		q := url.Values{"limit": {strconv.Itoa(want)}}
		for name, value := range map[string]string{
			"namespace": f.Namespace, "revision": f.Revision, "state": string(f.State), "after": after,
		} {
			if value != "" {
				q.Set(name, value)
			}
		}
		var list intake.List
		if err := c.read(ctx, question{"listing the tasks", http.MethodGet, c.Admin, "/tasks?" + q.Encode(), ""}, &list); err != nil {
			return nil, false, err
		}
		tasks = append(tasks, list.Tasks...)
		if len(tasks) > f.Limit {
			return tasks[:f.Limit], true, nil
		}
		if len(list.Tasks) < want {
			return tasks, false, nil
		}
		after = tasks[len(tasks)-1].ID
	}
}

// Get returns a task.
func (c *Client) Get(ctx context.Context, id string) (v intake.View, err error) {
	if !task.ValidID(id) {
		return v, fmt.Errorf("%q is no ID of a task: sluice tasks list shows them", id)
	}
	if c.Host != "" {
		return v, c.read(ctx, question{"reading the task " + id, http.MethodGet, c.Gateway, contract.TaskPath + id, c.Host}, &v)
	}
	return v, c.read(ctx, question{"reading the task " + id, http.MethodGet, c.Admin, "/tasks/" + id, ""}, &v)
}

// Cancel cancels a task.
func (c *Client) Cancel(ctx context.Context, id string) (intake.View, error) {
	return c.change(ctx, "cancelling the task "+id, http.MethodDelete, id, "")
}

// Retry has a task tried again that failed or was cancelled.
func (c *Client) Retry(ctx context.Context, id string) (intake.View, error) {
	return c.change(ctx, "retrying the task "+id, http.MethodPost, id, "/retry")
}

// change takes a step of a task, at its host.
func (c *Client) change(ctx context.Context, doing, method, id, action string) (v intake.View, err error) {
	host := c.Host
	if host == "" {
		if v, err = c.Get(ctx, id); err != nil {
			return v, fmt.Errorf("%w; name its host with --host if the admin address is not yours to read", err)
		}
		host = v.Host
	} else if !task.ValidID(id) {
		return v, fmt.Errorf("%q is no ID of a task: sluice tasks list shows them", id)
	}
	return v, c.read(ctx, question{doing, method, c.Gateway, contract.TaskPath + id + action, host}, &v)
}

// WriteResult writes what the application answered.
func (c *Client) WriteResult(ctx context.Context, id string, out io.Writer) error {
	base, path := c.Admin, "/tasks/"+id+"/result"
	if c.Host != "" {
		base, path = c.Gateway, contract.TaskPath+id+"/result"
	}
	answer, err := c.send(ctx, question{"reading the result of the task " + id, http.MethodGet, base, path, c.Host})
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	if answer.Header.Get(contract.ReasonHeader) != "" || answer.Header.Get(contract.TaskHeader) != id {
		return fmt.Errorf("reading the result of the task %s: %s", id, wordsOf(answer))
	}
	if _, err = io.Copy(out, io.LimitReader(answer.Body, maxAnswer)); err != nil {
		return fmt.Errorf("reading the result of the task %s: %w", id, err)
	}
	return nil
}

// question is a request: what it is for, and to which URL and host it goes. Without a host it is that of the URL.
type question struct{ doing, method, base, path, host string }

// refusedError is an answer that is not what was asked for.
type refusedError struct {
	status int
	words  string
}

func (e *refusedError) Error() string { return e.words }

// read sends a request, and decodes the answer.
func (c *Client) read(ctx context.Context, q question, into any) error {
	answer, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	if answer.StatusCode != http.StatusOK {
		return &refusedError{answer.StatusCode, q.doing + ": " + wordsOf(answer)}
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("%s: %s answers with something else than tasks (%w): is it the right address?", q.doing, q.base, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, q question) (*http.Response, error) {
	u, err := url.Parse(q.base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s: %q is no URL: want one such as http://127.0.0.1:8080", q.doing, q.base)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u.Scheme+"://"+u.Host+q.path, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q.doing, err)
	}
	if r.Host = u.Host; q.host != "" {
		r.Host = q.host
	}
	answer, err := c.HTTP.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; is sluice up running, and is this its address?", q.doing, err)
	}
	return answer, nil
}

// wordsOf says what an answer that is an error says, and what to do about it.
func wordsOf(answer *http.Response) string {
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxWords)) // the status alone says enough
	words := strings.TrimSpace(string(body))
	if words == "" || strings.HasPrefix(words, "<") {
		words = answer.Status
	}
	switch answer.Header.Get(contract.ReasonHeader) {
	case contract.ReasonNoTask:
		return words + ": sluice tasks list shows those that are kept"
	case contract.ReasonTaskState:
		return words + ": sluice tasks show tells its state"
	case contract.ReasonNoTaskStore, contract.ReasonTaskStore, contract.ReasonGone:
		return words
	case "":
		return fmt.Sprintf("the answer is %s and not that of a task store (%s): is it the right address and host?", answer.Status, words)
	}
	return fmt.Sprintf("%s (%s)", words, answer.Status)
}
