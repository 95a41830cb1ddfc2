package process

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

func TestFiguresAreReadWithoutAnAddress(t *testing.T) {
	m := &metrics{proxies: map[string]http.Handler{}}
	one := m.add(1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "figures of ", r.URL.Path)
	}))
	client := &http.Client{Transport: m}
	get := func(url string) string {
		t.Helper()
		response, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %s %s", response.Status, response.Header.Get("Content-Type"), text)
	}
	if got := get(one); got != "200 OK text/plain figures of /1/metrics" {
		t.Errorf("got %q", got)
	}
	m.remove(1)
	if got := get(one); got != "404 Not Found text/plain; charset=utf-8 404 page not found\n" {
		t.Errorf("of a replica that is gone: %q", got)
	}
}
