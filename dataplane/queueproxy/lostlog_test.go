package queueproxy_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// lines is a writer that may be read at any time.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestLostRequestsAreWarningsOnceASecond(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	var log lines
	_, address := serve(t, queueproxy.Options{Target: target, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: &log})})
	c := client(t, model.HTTP1)
	for range 3 {
		if got := get(t, c, "http://"+address+"/orders?token=secret"); got.Status != http.StatusBadGateway {
			t.Fatalf("got %v", got)
		}
	}
	text := log.String()
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "[WARN]  the application did not answer: method=GET path=/orders error=") {
		t.Errorf("three lost requests within a second are logged as:\n%s", text)
	}
	if strings.Contains(text, "secret") {
		t.Errorf("the log has the query: %s", text)
	}
}
