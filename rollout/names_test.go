package rollout

import (
	"strings"
	"testing"
)

// The hashes are md5sum's.
func TestChildName(t *testing.T) {
	a57, a60, b63 := strings.Repeat("a", 57), strings.Repeat("a", 60), strings.Repeat("b", 63)
	for name, c := range map[string]struct{ parent, suffix, want string }{
		"short names are joined":                  {"hello", "-00001", "hello-00001"},
		"63 characters still fit":                 {a57, "-00001", a57 + "-00001"},
		"a long parent is cut and hashed":         {a60, "-00001", a60[:25] + "cc7ed669cf88f201c3297c6a91e1d18d" + "-00001"},
		"a long suffix is hashed with the parent": {"a", b63, "a" + "14de0a94cc017aed0ff08cb250a82a08" + b63[:30]},
		"no dash is left at the end":              {"a", strings.Repeat("-", 63), "a778a582b848770f2247eee12e2145302"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ChildName(c.parent, c.suffix); got != c.want {
				t.Errorf("ChildName = %q, want %q", got, c.want)
			}
		})
	}
}

func TestRevisionNameCountsGenerations(t *testing.T) {
	for generation, want := range map[int64]string{1: "hello-00001", 42: "hello-00042", 123456: "hello-123456"} {
		if got := RevisionName("hello", generation); got != want {
			t.Errorf("RevisionName(%d) = %q, want %q", generation, got, want)
		}
	}
}
