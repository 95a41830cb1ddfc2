package intake_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/bolt"
)

func newIntake(t *testing.T, limits store.Limits) (*intake.Intake, *bolt.Store) {
	t.Helper()
	s, err := bolt.Open(filepath.Join(t.TempDir(), "tasks"), limits, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return intake.New(intake.Options{
		Store: s, BodyBytes: 1000, CheckURL: func(string) error { return errors.New("is not allowed") },
	}), s
}

func serve(i *intake.Intake, namespace, line, body string, header ...string) *httptest.ResponseRecorder {
	method, target, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	w := httptest.NewRecorder()
	i.Serve(w, r, namespace, "hello-1")
	return w
}

func TestWhatIsRecorded(t *testing.T) {
	i, s := newIntake(t, store.DefaultLimits)
	w := serve(i, "default", "POST /a%2Fb?c=d", "do it", "Prefer", "respond-async", "Connection", "X-Hop", "X-Hop", "1", "X-Own", "2",
		contract.RevisionHeader, "hello-1", contract.TaskHeader, "forged")
	id := w.Header().Get(contract.TaskHeader)
	if w.Code != http.StatusAccepted || w.Header().Get("Location") != contract.TaskPath+id {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	r, err := s.Request(t.Context(), id)
	if err != nil || r.Method != "POST" || r.Target != "/a%2Fb?c=d" || string(r.Body) != "do it" || len(r.Header) != 1 {
		t.Errorf("recorded is %+v, %v", r, err)
	}
	if other := serve(i, "other", "GET "+contract.TaskPath+id, ""); other.Code != http.StatusNotFound {
		t.Errorf("another namespace sees the task: %d", other.Code)
	}
	if early := serve(i, "default", "GET "+contract.TaskPath+id+"/result", ""); early.Code != http.StatusConflict {
		t.Errorf("the result of a task that waits: %d", early.Code)
	}
	for range 2 { // the second time it has ended
		w = serve(i, "default", "DELETE "+contract.TaskPath+id, "")
	}
	if w.Code != http.StatusConflict {
		t.Errorf("cancelling twice: %d %s", w.Code, w.Body)
	}
	if w = serve(i, "default", "POST "+contract.TaskPath+id+"/retry", ""); w.Code != http.StatusOK {
		t.Errorf("retrying: %d %s", w.Code, w.Body)
	}
	if w = serve(i, "default", "PUT "+contract.TaskPath+id, ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a method that there is not: %d", w.Code)
	}
}

func TestBadInput(t *testing.T) {
	i, s := newIntake(t, store.DefaultLimits)
	for _, test := range []struct {
		name, body string
		header     []string
		status     int
	}{
		{"a large body", strings.Repeat("a", 1001), nil, 413},
		{"a deadline that is none", "", []string{contract.DeadlineHeader, "tomorrow"}, 400},
		{"a deadline in the past", "", []string{contract.DeadlineHeader, "2001-01-01T00:00:00Z"}, 400},
		{"no tries", "", []string{contract.TriesHeader, "0"}, 400},
		{"a callback", "", []string{contract.CallbackHeader, "http://10.0.0.1"}, 400},
		{"an upgrade", "", []string{"Upgrade", "websocket"}, 400},
		{"a long key", "", []string{contract.IdempotencyHeader, strings.Repeat("a", 2000)}, 400},
	} {
		if w := serve(i, "default", "POST /", test.body, test.header...); w.Code != test.status || w.Header().Get(contract.ReasonHeader) == "" {
			t.Errorf("%s: %d %v %s", test.name, w.Code, w.Header(), w.Body)
		}
	}
	w := httptest.NewRecorder()
	i.Serve(w, httptest.NewRequest("POST", "/", iotest.ErrReader(errors.New("gone"))), "default", "hello-1")
	if w.Code != http.StatusBadRequest || s.Usage().Open != 0 {
		t.Errorf("half a body: %d, %d tasks are open", w.Code, s.Usage().Open)
	}
}

func TestQuotas(t *testing.T) {
	limits := store.DefaultLimits
	limits.OpenOfRevision = 1
	i, _ := newIntake(t, limits)
	serve(i, "default", "POST /", "")
	if w := serve(i, "default", "POST /", ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("one more than may be open: %d %v", w.Code, w.Header())
	}
	limits = store.DefaultLimits
	limits.Bytes = 100
	i, _ = newIntake(t, limits)
	if w := serve(i, "default", "POST /", ""); w.Code != http.StatusInsufficientStorage {
		t.Errorf("more bytes than may be: %d %s", w.Code, w.Body)
	}
}
