package intake

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// Options of an Intake. Store and CheckURL are required.
type Options struct {
	Store store.Store
	// CheckURL says what is wrong with the URL of a callback or a dead letter.
	CheckURL func(string) error
	// Cancelled is called with a task that a client has cancelled, so that its try ends; it may be nil.
	Cancelled func(id string)
	// BodyBytes is the largest body of a task; 0 means 10 MiB.
	BodyBytes int64
}

const (
	defaultBody = 10 << 20
	// addPatience bounds how long a client waits for its task to be recorded.
	addPatience = 30 * time.Second
	// maxKey bounds the parts of a key and the sender, in bytes.
	maxKey = 1024
	// listMost is how many tasks a list has at most.
	listMost = 1000
)

// Intake answers clients.
type Intake struct{ o Options }

// New makes an Intake.
func New(o Options) *Intake {
	o.BodyBytes = cmp.Or(o.BodyBytes, defaultBody)
	if o.Cancelled == nil {
		o.Cancelled = func(string) {}
	}
	return &Intake{o: o}
}

// Serve answers a request that has come for a revision: one about a task, below contract.TaskPath, or one that is to become a task.
func (i *Intake) Serve(w http.ResponseWriter, r *http.Request, namespace, revision string) {
	if rest, ok := strings.CutPrefix(r.URL.Path, contract.TaskPath); ok {
		i.about(w, r, rest, func(t *task.Task) bool { return strings.HasPrefix(t.Revision, namespace+"/") })
		return
	}
	t, stored, refused := i.read(r, namespace, revision)
	if refused != nil {
		refused.answer(w)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), addPatience) // who goes now may have been recorded
	defer cancel()
	recorded, duplicate, err := i.o.Store.Add(ctx, t, stored)
	if err != nil {
		refusalOf(err).answer(w)
		return
	}
	w.Header().Set("Location", contract.TaskPath+recorded.ID)
	w.Header().Set("Preference-Applied", "respond-async")
	w.Header().Set(contract.TaskHeader, recorded.ID)
	view := viewOf(&recorded)
	view.Duplicate = duplicate
	writeJSON(w, http.StatusAccepted, view)
}

// read makes a task of a request.
func (i *Intake) read(r *http.Request, namespace, revision string) (task.Task, task.Request, *refusal) {
	now := time.Now()
	id, err := task.NewID(now, rand.Reader)
	if err != nil {
		return task.Task{}, task.Request{}, refusalOf(err)
	}
	t := task.Task{
		ID: id, Revision: namespace + "/" + revision, Host: r.Host, Accepted: now, Due: now, State: task.Waiting, Retry: task.DefaultRetry,
	}
	if err := i.terms(&t, r.Header, namespace); err != nil {
		return t, task.Request{}, &refusal{http.StatusBadRequest, contract.ReasonBadTask, err.Error()}
	}
	if r.Header["Upgrade"] != nil {
		return t, task.Request{}, &refusal{http.StatusBadRequest, contract.ReasonBadTask, "a request that upgrades cannot be asynchronous"}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, i.o.BodyBytes+1))
	switch {
	case err != nil:
		return t, task.Request{}, &refusal{http.StatusBadRequest, contract.ReasonBadBody, "the body did not arrive: no task was made"}
	case int64(len(body)) > i.o.BodyBytes:
		return t, task.Request{}, &refusal{http.StatusRequestEntityTooLarge, contract.ReasonBodyTooLarge,
			fmt.Sprintf("the body of a task may have %d bytes", i.o.BodyBytes)}
	}
	return t, task.Request{Method: r.Method, Target: r.URL.RequestURI(), Host: r.Host, Header: keptHeader(r.Header), Body: body}, nil
}

// terms reads what the headers say about the task.
func (i *Intake) terms(t *task.Task, h http.Header, namespace string) error {
	t.Callback, t.DeadLetter = h.Get(contract.CallbackHeader), h.Get(contract.DeadLetterHeader)
	for name, address := range map[string]string{contract.CallbackHeader: t.Callback, contract.DeadLetterHeader: t.DeadLetter} {
		if address == "" {
			continue
		}
		if err := i.o.CheckURL(address); err != nil {
			return fmt.Errorf("the header %s: %w", name, err)
		}
	}
	if err := readTries(t, h); err != nil {
		return err
	}
	return readKey(t, h, namespace)
}

// readTries reads how long and how often the task is tried.
func readTries(t *task.Task, h http.Header) error {
	if text := h.Get(contract.DeadlineHeader); text != "" {
		at, err := time.Parse(time.RFC3339Nano, text)
		switch {
		case err != nil:
			return fmt.Errorf("the header %s must be a time of RFC 3339, such as 2030-01-31T12:00:00Z", contract.DeadlineHeader)
		case !at.After(t.Accepted):
			return fmt.Errorf("the header %s names a time that has passed", contract.DeadlineHeader)
		}
		t.Deadline = at
	}
	if text := h.Get(contract.TriesHeader); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > task.MaxTries {
			return fmt.Errorf("the header %s must be a whole number from 1 to %d", contract.TriesHeader, task.MaxTries)
		}
		t.Retry.Tries = n
	}
	return nil
}

// readKey reads who sends the task, and which other one is the same.
func readKey(t *task.Task, h http.Header, namespace string) error {
	t.Source, t.Event = attribute(h, contract.EventSourceHeader), attribute(h, contract.EventIDHeader)
	t.Sender = cmp.Or(h.Get(contract.SenderHeader), t.Source)
	key := h.Get(contract.IdempotencyHeader)
	if len(t.Source) > maxKey || len(t.Event) > maxKey || len(t.Sender) > maxKey || len(key) > maxKey {
		return fmt.Errorf("source, id, sender and %s may have %d bytes each", contract.IdempotencyHeader, maxKey)
	}
	switch {
	case t.Event != "" && t.Source != "":
		t.Key = task.Key(namespace, t.Host+"\n"+t.Source, t.Event)
	case key != "":
		t.Key = task.Key(namespace, t.Host+"\n\n"+t.Sender, key)
	}
	return nil
}

// attribute reads an attribute of a CloudEvent from its header. Some senders percent-encode what the HTTP binding wants encoded, and some
// do not; both mean the same event.
func attribute(h http.Header, name string) string {
	text := h.Get(name)
	if decoded, err := url.PathUnescape(text); err == nil {
		return decoded
	}
	return text
}

// keptHeader is the header of a request without what is about its connection, about the task, or a gateway's.
func keptHeader(h http.Header) http.Header {
	kept := h.Clone()
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			kept.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{
		"Connection", "Content-Length", "Expect", "Keep-Alive", "Prefer", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", contract.RevisionHeader, contract.NamespaceHeader, contract.CallbackHeader, contract.DeadLetterHeader,
		contract.TriesHeader, contract.TaskHeader, contract.TryHeader, contract.RunnerHeader, contract.DeadlineHeader,
	} {
		kept.Del(name)
	}
	return kept
}

// refusal is an answer that is an error.
type refusal struct {
	status  int
	reason  string
	message string
}

func (r *refusal) answer(w http.ResponseWriter) {
	w.Header().Set(contract.ReasonHeader, r.reason)
	if r.status == http.StatusTooManyRequests || r.status == http.StatusInsufficientStorage || r.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, r.message, r.status)
}

// refusalOf is the answer after an error of the store or of a step.
func refusalOf(err error) *refusal {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &refusal{http.StatusNotFound, contract.ReasonNoTask, "there is no such task, or it is not kept any more"}
	case errors.Is(err, store.ErrTooMany):
		return &refusal{http.StatusTooManyRequests, contract.ReasonTooManyTasks, "too many tasks are waiting; try again later"}
	case errors.Is(err, store.ErrFull):
		return &refusal{http.StatusInsufficientStorage, contract.ReasonTasksFull, "the task store is full; try again when tasks have ended"}
	case errors.Is(err, task.ErrEnded), errors.Is(err, task.ErrOpen):
		return &refusal{http.StatusConflict, contract.ReasonTaskState, err.Error()}
	}
	return &refusal{http.StatusServiceUnavailable, contract.ReasonTaskStore, "the task store does not answer: the task may not be recorded"}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // an error means that the client is gone
}
