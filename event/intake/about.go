package intake

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// View is what a client sees of a task, as JSON.
type View struct {
	task.Task
	// Duplicate says that the request became no task of its own: this one has the same key.
	Duplicate bool `json:"duplicate,omitempty"`
	// Result is the path of the result; empty while there is none.
	Result string `json:"result,omitempty"`
}

func viewOf(t *task.Task) View {
	v := View{Task: *t}
	if !t.State.Open() && t.Status != 0 {
		v.Result = contract.TaskPath + t.ID + "/result"
	}
	return v
}

// List is what the admin address answers to a question for tasks.
type List struct {
	Tasks []View `json:"tasks"`
}

// about answers a request about one task: ID, ID/result, ID/retry.
func (i *Intake) about(w http.ResponseWriter, r *http.Request, rest string, visible func(*task.Task) bool) {
	id, action, _ := strings.Cut(rest, "/")
	var t task.Task
	err := store.ErrNotFound
	if task.ValidID(id) {
		t, err = i.o.Store.Get(r.Context(), id)
	}
	if err == nil && !visible(&t) {
		err = store.ErrNotFound
	}
	if err != nil {
		refusalOf(err).answer(w)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	switch method + " " + action {
	case "GET ":
		writeJSON(w, http.StatusOK, viewOf(&t))
	case "DELETE ":
		i.step(w, r, id, func(t *task.Task) error { return t.Cancel(time.Now()) })
	case "POST retry":
		i.retry(w, r, &t)
	case "GET result":
		i.result(w, r, &t)
	default:
		http.Error(w, "a task has GET ID, GET ID/result, POST ID/retry and DELETE ID", http.StatusMethodNotAllowed)
	}
}

// retry has a task tried again whose request is kept.
func (i *Intake) retry(w http.ResponseWriter, r *http.Request, t *task.Task) {
	if _, err := i.o.Store.Request(r.Context(), t.ID); err != nil && !t.State.Open() && t.State != task.Done {
		(&refusal{http.StatusGone, contract.ReasonGone, "the request of the task is not kept any more"}).answer(w)
		return
	}
	i.step(w, r, t.ID, func(t *task.Task) error { return t.Again(time.Now()) })
}

func (i *Intake) step(w http.ResponseWriter, r *http.Request, id string, step func(*task.Task) error) {
	t, err := i.o.Store.Change(r.Context(), id, nil, step)
	if err != nil {
		refusalOf(err).answer(w)
		return
	}
	i.o.Cancelled(id)
	writeJSON(w, http.StatusOK, viewOf(&t))
}

// result answers as the application has answered the task.
func (i *Intake) result(w http.ResponseWriter, r *http.Request, t *task.Task) {
	if t.State.Open() {
		w.Header().Set("Retry-After", "1")
		(&refusal{http.StatusConflict, contract.ReasonTaskState, "the task is " + string(t.State) + ": it has no result yet"}).answer(w)
		return
	}
	result, err := i.o.Store.Result(r.Context(), t.ID)
	if err != nil {
		(&refusal{http.StatusGone, contract.ReasonGone, "the task has no result, or it is not kept any more: " + t.Why}).answer(w)
		return
	}
	for name, values := range result.Header {
		w.Header()[name] = values
	}
	w.Header().Set(contract.TaskHeader, t.ID)
	w.Header().Set(contract.StateHeader, string(t.State))
	w.WriteHeader(result.Status)
	_, _ = w.Write(result.Body) // an error means that the client is gone
}

// Admin answers operators, who see all tasks: GET / lists them by ?namespace, ?revision, ?state, ?after and ?limit; the others are as for
// clients. Whoever serves it decides who may ask.
func (i *Intake) Admin(w http.ResponseWriter, r *http.Request) {
	rest, _ := strings.CutPrefix(r.URL.Path, "/tasks")
	if rest = strings.Trim(rest, "/"); rest != "" {
		i.about(w, r, rest, func(*task.Task) bool { return true })
		return
	}
	q, values := store.Query{Limit: 100}, r.URL.Query()
	q.Namespace, q.Revision, q.After = values.Get("namespace"), values.Get("revision"), values.Get("after")
	q.State = task.State(values.Get("state"))
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > listMost {
			http.Error(w, "limit must be a whole number from 1 to "+strconv.Itoa(listMost), http.StatusBadRequest)
			return
		}
		q.Limit = n
	}
	if q.State != "" && !q.State.Valid() {
		http.Error(w, "state must be waiting, running, done, failed or cancelled", http.StatusBadRequest)
		return
	}
	tasks, err := i.o.Store.List(r.Context(), q)
	if err != nil {
		refusalOf(err).answer(w)
		return
	}
	list := List{Tasks: []View{}}
	for n := range tasks {
		list.Tasks = append(list.Tasks, viewOf(&tasks[n]))
	}
	writeJSON(w, http.StatusOK, list)
}
