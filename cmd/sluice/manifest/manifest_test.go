package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestBrokenDocumentsCostNothingButThemselves(t *testing.T) {
	docs := Decode("all.yaml", strings.NewReader(`# a comment alone
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: good}
---
kind: Service
---
{ this is: [not yaml
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: also-good}
`))
	var got []string
	for _, d := range docs {
		if d.Err != nil {
			got = append(got, d.Source+": "+strings.Split(d.Err.Error(), ":")[0])
			continue
		}
		got = append(got, d.Object.GetName())
	}
	want := []string{
		"good", "all.yaml (document 3): this is not an object of the API", "all.yaml (document 4): this is not YAML", "also-good",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestFolderIsReadInOrder(t *testing.T) {
	dir := t.TempDir()
	for name, object := range map[string]string{"b.yaml": "two", "a.json": "one", "notes.txt": "never"} {
		text := `{"apiVersion": "v1", "kind": "X", "metadata": {"name": "` + object + `"}}`
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	docs, err := Read([]string{dir})
	if err != nil || len(docs) != 2 || docs[0].Object.GetName() != "one" || docs[1].Object.GetName() != "two" {
		t.Fatalf("got %v, %v", docs, err)
	}
	if _, err := Read([]string{filepath.Join(dir, "absent")}); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a path that does not exist gave %v", err)
	}
}

// Nobody writes to the pipe, so that a read would not end.
func TestOnlyFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, "/dev/zero"} {
		docs, err := Read([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		if len(docs) != 1 || docs[0].Err == nil || !strings.Contains(docs[0].Err.Error(), "is no regular file") {
			t.Errorf("%s: %+v", path, docs)
		}
	}
}
