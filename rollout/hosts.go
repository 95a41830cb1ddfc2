package rollout

import (
	"cmp"
	"strconv"
	"strings"

	"sluice.dev/sluice/model"
)

const longestHost = 253

// hosts are the host names of one rule of a Route.
type hosts struct {
	// external is empty when the Route is cluster-local.
	external []string
	local    []string
	url      string
}

// hostsOf returns the hosts of a Route's tag, or of the Route itself when tag is empty. When one would not be a host name, it returns
// that one as bad and no hosts.
func (o Options) hostsOf(route *model.RouteSpec, tag string) (h hosts, bad string) {
	name := hostName(route.Key.Name, tag)
	local := name + "." + route.Key.Namespace
	cluster := local + ".svc." + cmp.Or(o.ClusterDomain, "cluster.local")
	if !isHost(cluster) {
		return hosts{}, cluster
	}
	h = hosts{local: []string{local, local + ".svc", cluster}, url: "http://" + cluster}
	if route.ClusterLocal {
		return h, ""
	}
	external := local + "." + cmp.Or(o.Domain, "localhost")
	if !isHost(external) {
		return hosts{}, external
	}
	h.external = []string{external}
	h.url = cmp.Or(o.Scheme, "http") + "://" + external + o.port()
	return h, ""
}

// address is the URL of a Route within the cluster.
func (o Options) address(route *model.RouteSpec) string {
	return "http://" + route.Key.Name + "." + route.Key.Namespace + ".svc." + cmp.Or(o.ClusterDomain, "cluster.local")
}

func (o Options) port() string {
	usual := 80
	if o.Scheme == "https" {
		usual = 443
	}
	if o.Port == 0 || o.Port == usual {
		return ""
	}
	return ":" + strconv.Itoa(o.Port)
}

// hostName is the first label of a host: Knative's default tag template.
func hostName(route, tag string) string {
	if tag == "" {
		return route
	}
	return tag + "-" + route
}

// isHost says whether s is a fully qualified domain name: labels of 1 to 63 lower-case letters, digits and inner dashes.
func isHost(s string) bool {
	if len(s) > longestHost {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > longestName || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
