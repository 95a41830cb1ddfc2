package sample

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestGreeting(t *testing.T) {
	server := httptest.NewServer(Handler(Options{Target: "World", Revision: "hello-00001"}))
	defer server.Close()
	for path, want := range map[string]struct {
		status int
		prefix string
		length int
	}{
		"/":              {200, "Hello World from hello-00001\n", 29},
		"/?size=10kb":    {200, "Hello World from hello-00001\nxxx", 29 + 10240},
		"/?sleep=never":  {400, "sleep:", -1},
		"/?cpu=-1s":      {400, "cpu:", -1},
		"/?size=2000mb":  {400, "size:", -1},
		"/healthz":       {200, "ok\n", 3},
		"/?sleep=1h&x=1": {400, "sleep:", -1},
	} {
		response, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		text := string(body)
		if response.StatusCode != want.status || !strings.HasPrefix(text, want.prefix) || want.length >= 0 && len(text) != want.length {
			t.Errorf("%s: status %d, %d bytes, %.40q", path, response.StatusCode, len(text), text)
		}
	}
}

func TestSleepAndComputeTakeTheirTime(t *testing.T) {
	server := httptest.NewServer(Handler(Options{}))
	defer server.Close()
	for _, path := range []string{"/?sleep=60ms", "/?cpu=60ms"} {
		begin := time.Now()
		response, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if took := time.Since(begin); took < 60*time.Millisecond {
			t.Errorf("%s took only %s", path, took)
		}
	}
}

func TestWebSocketEchoes(t *testing.T) {
	server := httptest.NewServer(Handler(Options{}))
	defer server.Close()
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := conn.Read(t.Context()); err != nil || string(message) != "hi" {
		t.Errorf("got %q, %v", message, err)
	}
}
