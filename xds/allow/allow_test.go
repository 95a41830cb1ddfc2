package allow_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/xds/allow"
)

func TestWhoMayHaveARole(t *testing.T) {
	list, err := allow.Parse([]string{
		"gateway=spiffe://x/gateway", "gateway/gw-1=spiffe://x/first", "activator=spiffe://x/activators/*",
		"mesh=*.apps.example.org", "mesh=Single.Example.org", "status=spiffe://x/operator",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		role, node, identity string
		want                 bool
	}{
		{"gateway", "any", "spiffe://x/gateway", true},
		{"gateway", "any", "spiffe://x/gateway2", false},
		{"gateway", "any", "spiffe://x/gateway/", false},
		{"gateway", "any", "SPIFFE://x/gateway", false},
		{"activator", "any", "spiffe://x/gateway", false},
		{"gateway", "gw-1", "spiffe://x/first", true},
		{"gateway", "gw-2", "spiffe://x/first", false},
		{"gateway", "", "spiffe://x/first", false},
		{"activator", "a", "spiffe://x/activators/a", true},
		{"activator", "a", "spiffe://x/activators/", false},
		{"activator", "a", "spiffe://x/activators/a/b", false},
		{"activator", "a", "spiffe://x/activators/..", false},
		{"activator", "a", "spiffe://x/activators/*", false},
		{"activator", "a", "spiffe://x/activators/a?b", false},
		{"mesh", "m", "one.apps.example.org", true},
		{"mesh", "m", "ONE.apps.example.org", true},
		{"mesh", "m", "apps.example.org", false},
		{"mesh", "m", ".apps.example.org", false},
		{"mesh", "m", "one.two.apps.example.org", false},
		{"mesh", "m", "*.apps.example.org", false},
		{"mesh", "m", "single.example.org", true},
		{"mesh", "m", "spiffe://one.apps.example.org", false},
		{"status", "", "spiffe://x/operator", true},
		{"status", "", "spiffe://x/gateway", true},
		{"status", "", "spiffe://x/stranger", false},
		{"gateway", "", "spiffe://x/operator", false},
		{"other", "", "spiffe://x/gateway", false},
	} {
		for _, identities := range [][]string{{test.identity}, {"nobody.test", test.identity}} {
			if err := list.Check(test.role, test.node, identities); (err == nil) != test.want {
				t.Errorf("%s as %s %q: %v, want %v", test.identity, test.role, test.node, err, test.want)
			}
		}
	}
}

func TestErrorSaysWhoAskedForWhat(t *testing.T) {
	list, err := allow.Parse([]string{"gateway=spiffe://x/gateway"})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 5000)
	for _, test := range []struct {
		identities []string
		want       []string
	}{
		{[]string{"spiffe://x/activator", "a.test"},
			[]string{`"activator"`, `"a-1"`, `"spiffe://x/activator"`, `"a.test"`, "--xds-allow activator="}},
		{nil, []string{"neither URI nor DNS names"}},
		{[]string{long, "1", "2", "3", "4", "5", "6", "7", "8", "9"}, []string{"2 more", "…"}},
	} {
		err := list.Check("activator", "a-1", test.identities)
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %s", err, want)
			}
		}
		if len(err.Error()) > 1000 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
		if strings.Contains(err.Error(), "spiffe://x/gateway") {
			t.Errorf("%v tells who would be allowed", err)
		}
	}
}

func TestInvalidEntriesAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "gateway", "gateway=", "=spiffe://x/y", "proxy=spiffe://x/y", "gateway/=spiffe://x/y", "status/n=spiffe://x/y",
		"gateway=*", "gateway=*.", "gateway=spiffe://*", "gateway=spiffe:///*", "gateway=spiffe://x/*/y", "gateway=spiffe://x/y*",
		"gateway=a.*.test", "gateway=**.test",
		"gateway=spiffe://", "gateway=://x",
	} {
		if _, err := allow.Parse([]string{text}); err == nil || text != "" && !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
