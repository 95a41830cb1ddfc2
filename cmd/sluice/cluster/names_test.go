package cluster

import (
	"slices"
	"testing"

	"sluice.dev/sluice/cmd/sluice/install"
)

// What install gives permissions for, and what sluice xds looks for, is what controllers make.
func TestNamesAreThoseOfTheInstallation(t *testing.T) {
	made := []string{authoritySecret, tokenSecret}
	for _, role := range roles {
		made = append(made, secretOf(role))
	}
	slices.Sort(made)
	if want := slices.Sorted(slices.Values(install.Secrets)); !slices.Equal(made, want) {
		t.Errorf("controllers make the Secrets %q, and may do so for %q", made, want)
	}
	if leaseName != install.Lease || serverName("a") != install.ServerName("a") {
		t.Errorf("the Lease is %q and the server %q, want %q and %q", leaseName, serverName("a"), install.Lease, install.ServerName("a"))
	}
}
