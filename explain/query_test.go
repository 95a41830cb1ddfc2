package explain

import "testing"

func TestQueriesAreNamesAndHosts(t *testing.T) {
	for text, want := range map[string]Query{
		"hello":                              {Key: in("hello")},
		"default/hello":                      {Key: in("hello")},
		"hello.default.localhost":            {Host: "hello.default.localhost"},
		"hello.default.localhost:8080":       {Host: "hello.default.localhost"},
		"Hello.Default.localhost.":           {Host: "hello.default.localhost"},
		"hello.default":                      {Host: "hello.default"},
		"hello.default.localhost/path":       {Host: "hello.default.localhost"},
		"http://hello.default.localhost:80/": {Host: "hello.default.localhost"},
		"grpc://blue-hello.default.svc:80":   {Host: "blue-hello.default.svc"},
		"localhost:8080":                     {Host: "localhost"},
	} {
		if got, err := ParseQuery(text, "default"); err != nil || got != want {
			t.Errorf("%q became %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "/", "a/b/c", "/hello", "hello/", "http://", ":8080", "a:b:c"} {
		if got, err := ParseQuery(text, "default"); err == nil {
			t.Errorf("%q became %+v, want an error", text, got)
		}
	}
}

func TestDistanceCountsMistypedLetters(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"hello", "hello", 0}, {"helo", "hello", 1}, {"ehllo", "hello", 1}, {"hallo", "hello", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q are %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
