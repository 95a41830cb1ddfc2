package autoscaler

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestRefusalsAreKnativesSentences(t *testing.T) {
	text, err := os.ReadFile("testdata/sentences.txt")
	if err != nil {
		t.Fatal(err)
	}
	config, compared := DefaultConfig(), 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		want, err := strconv.Unquote(f[2])
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range strings.Fields(f[1]) {
			k, v, _ := strings.Cut(s, "=")
			if f[0] == "annotations" {
				k = group + k
			}
			settings[k] = v
		}
		if f[0] == "annotations" {
			err = Validate(&config, settings)
		} else {
			_, err = ParseConfig(settings)
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s %s:\n got %q\nwant %q", f[0], f[1], got, want)
		}
		compared++
	}
	if compared < 80 {
		t.Errorf("compared %d sentences, want 80 or more", compared)
	}
}
