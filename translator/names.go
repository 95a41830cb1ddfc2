package translator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// validName reports whether s can be a namespace, a name or a tag, which need no escaping in resource names, header values and sentences.
// 253 is the limit of a DNS name.
func validName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// checkKey returns what is wrong with the identity of an object.
func checkKey(key model.Key) error {
	if validName(key.Namespace) && validName(key.Name) {
		return nil
	}
	return fmt.Errorf("%q is not a namespace and a name: both consist of lower-case letters, digits, '-' and '.'", key.String())
}

// validHost reports whether a lower-case host name can be the domain of a virtual host. Underscores are no part of DNS
// names, but hosts have them.
func validHost(s string) bool { return validName(strings.ReplaceAll(s, "_", "-")) }

// validEndpoint reports whether an endpoint is an IP address and a port.
func validEndpoint(e model.Endpoint) bool {
	_, err := netip.ParseAddr(e.Host)
	return err == nil && e.Port > 0 && e.Port <= 65535
}

// addresses are the valid endpoints, sorted and without repetition: gRPC rejects a repeated address.
func addresses(endpoints []model.Endpoint) []model.Endpoint {
	valid := slices.DeleteFunc(slices.Clone(endpoints), func(e model.Endpoint) bool { return !validEndpoint(e) })
	slices.SortFunc(valid, compareEndpoint)
	return slices.Compact(valid)
}

func compareEndpoint(a, b model.Endpoint) int {
	if c := strings.Compare(a.Host, b.Host); c != 0 {
		return c
	}
	return a.Port - b.Port
}
