package up

import (
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/authority"
)

func TestCertificatesAreForTheirNames(t *testing.T) {
	a := authority.New(t)
	one, two := a.Issue("one", "*.one.test"), a.Issue("two", "two.test", "*.two.test", "127.0.0.1")
	for name, test := range map[string]struct {
		chains, keys []string
		names        []string
		hosts        [][]string
	}{
		"none": {},
		"one":  {[]string{one.Chain}, []string{one.Key}, []string{"default/gateway"}, [][]string{{"*.localhost"}}},
		"several": {[]string{one.Chain, two.Chain}, []string{one.Key, two.Key}, []string{"default/gateway", "default/gateway-2"},
			[][]string{{"*.one.test"}, {"two.test", "*.two.test"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := openCertificates("localhost", test.chains, test.keys, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := s.newest()
			if !slices.EqualFunc(got, test.names,
				func(c model.Certificate, name string) bool { return c.Name == name && c.Chain != "" && c.Key != "" }) {
				t.Errorf("there are %d certificates, want %v with their pairs", len(got), test.names)
			}
			for i, c := range got {
				if !slices.Equal(c.Hosts, test.hosts[i]) {
					t.Errorf("%s is for %v, want %v", c.Name, c.Hosts, test.hosts[i])
				}
			}
		})
	}
	for want, test := range map[string][2][]string{
		"as many of one as of the other": {{one.Chain, two.Chain}, {one.Key}},
		"--tls-key " + one.Key:           {{two.Chain}, {one.Key}},
	} {
		if _, err := openCertificates("localhost", test[0], test[1], nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q in it", test, err, want)
		}
	}
}
