package queueproxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/output"
)

func TestLostRequestsAreWarningsOnceASecond(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	var log output.Buffer
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
