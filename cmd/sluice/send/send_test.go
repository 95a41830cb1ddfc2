package send

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// run runs the command against a server that reads events with the SDK.
func run(t *testing.T, answer http.HandlerFunc, stdin string, args ...string) (e *event.Event, r *http.Request, out, log string, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, got *http.Request) {
		r = got
		var wrong error
		if e, wrong = binding.ToEvent(got.Context(), cehttp.NewMessageFromHttpRequest(got)); wrong != nil {
			t.Error(wrong)
		}
		if answer != nil {
			answer(w, got)
		}
	}))
	defer server.Close()
	var stdout, stderr bytes.Buffer
	c := Command()
	c.SetArgs(append([]string{server.URL + "/path"}, args...))
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&stdout)
	c.SetErr(&stderr)
	c.SilenceUsage, c.SilenceErrors = true, true
	err = c.ExecuteContext(t.Context())
	return e, r, stdout.String(), stderr.String(), err
}

func TestSend(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"--type", "order", "--source", "/shop", "--id", "42", "--subject", "s", "--extension", "a=b"}
	for _, test := range []struct {
		name, stdin       string
		args              []string
		data, contentType string
	}{
		{"json", "", []string{"--data", `{"n":1}`}, `{"n":1}`, "application/json"},
		{"text", "", []string{"--data", "hello"}, "hello", "text/plain; charset=utf-8"},
		{"file", "", []string{"--data-file", file, "--content-type", "a/b"}, "from a file", "a/b"},
		{"standard input", "given", []string{"--data-file", "-"}, "given", "text/plain; charset=utf-8"},
		{"structured", "", []string{"--structured", "--data", `{"n":1}`}, `{"n":1}`, "application/json"},
		{"nothing", "", nil, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, r, _, _, err := run(t, nil, test.stdin, append(base, test.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if e.Type() != "order" || e.Source() != "/shop" || e.ID() != "42" || e.Subject() != "s" || e.Extensions()["a"] != "b" {
				t.Errorf("the event is\n%v", e)
			}
			if string(e.Data()) != test.data || e.DataContentType() != test.contentType {
				t.Errorf("the data are %q of %q", e.Data(), e.DataContentType())
			}
			if structured := strings.HasPrefix(r.Header.Get("Content-Type"), event.ApplicationCloudEventsJSON); structured !=
				(test.name == "structured") {
				t.Errorf("structured mode: %v", structured)
			}
		})
	}
}

func TestSendSaysWhatBecameOfTheEvent(t *testing.T) {
	_, r, out, log, err := run(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/tasks/1")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("later"))
	}, "", "--async", "--host", "hello.example.com")
	if err != nil || out != "later" || log != "202 Accepted\nLocation: /tasks/1\n" {
		t.Errorf("%q, %q, %v", out, log, err)
	}
	if r.Host != "hello.example.com" || r.Header.Get("Prefer") != "respond-async" || r.Header.Get("Ce-Id") == "" {
		t.Errorf("the request has host %s and %v", r.Host, r.Header)
	}
	_, _, out, _, err = run(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusTooManyRequests) }, "")
	if err == nil || !strings.Contains(err.Error(), "429") || out != "busy\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"hello"}, "no URL"},
		{[]string{"http://127.0.0.1:1", "--source", ""}, "source"},
		{[]string{"http://127.0.0.1:1", "--type", ""}, "type"},
		{[]string{"http://127.0.0.1:1", "--extension", "a_b=c"}, "a_b"},
		{[]string{"http://127.0.0.1:1", "--data-file", "/missing"}, "/missing"},
		{[]string{"http://127.0.0.1:1", "--data", "a", "--data-file", "b"}, "data-file"},
		{[]string{"http://127.0.0.1:1"}, "sending the event"},
	} {
		c := Command()
		c.SetArgs(test.args)
		c.SilenceUsage, c.SilenceErrors = true, true
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v, want %q", test.args, err, test.says)
		}
	}
}
