package explain

import (
	"cmp"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// Claim is a Route that has a host for itself, for one of its tags, or by a DomainMapping.
type Claim struct {
	Route *model.RouteSpec
	// Tag is empty for the Route's own hosts; Local says that the host is one within the cluster.
	Tag   string
	Local bool
	// Mapping is the DomainMapping that has the host, for the Route of its target; nil when the Route itself has it.
	Mapping *model.Mapping
}

// target returns the name of the Route.
func (c *Claim) target() model.Key {
	if c.Mapping != nil {
		return c.Mapping.Target.Key
	}
	return c.Route.Key
}

// Claims returns the Routes that claim a host. The first one has it: the oldest, then the first by name.
func Claims(routes []*model.RouteSpec, host string) []Claim {
	var out []Claim
	options := settings(routes)
	for _, r := range routes {
		for _, tag := range tagsOf(r) {
			external, local := options.Hosts(r, tag)
			if within := slices.Contains(local, host); within || slices.Contains(external, host) {
				out = append(out, Claim{Route: r, Tag: tag, Local: within})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Claim) int {
		return cmp.Or(a.Route.Created.Compare(b.Route.Created), a.Route.Key.Compare(b.Route.Key))
	})
	return out
}

// settings returns the settings of the installation that follow from the status of Routes.
func settings(routes []*model.RouteSpec) rollout.Options {
	var all rollout.Options
	for _, r := range routes {
		o := rollout.OptionsOf(r)
		all.Domain, all.ClusterDomain = cmp.Or(all.Domain, o.Domain), cmp.Or(all.ClusterDomain, o.ClusterDomain)
		if all.Domain != "" && all.ClusterDomain != "" {
			break
		}
	}
	return all
}

// tagsOf returns the tags of a Route, asked for or in force, sorted. The first is the empty one, of the Route itself.
func tagsOf(r *model.RouteSpec) []string {
	tags := []string{""}
	for _, targets := range [][]model.Target{r.Traffic, r.Served} {
		for _, t := range targets {
			tags = append(tags, t.Tag)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// mostNear bounds how many names are proposed.
const mostNear = 5

// nearNames returns Services and Routes with a similar name, the most similar first. The same name in another namespace comes before
// all others.
func nearNames(o Objects, key model.Key) []string {
	var keys []model.Key
	for _, s := range o.Services {
		keys = append(keys, s.Key)
	}
	for _, r := range o.Routes {
		keys = append(keys, r.Key)
	}
	slices.SortFunc(keys, model.Key.Compare)
	distances := map[string]int{}
	for _, k := range slices.Compact(keys) {
		d := 2*distance(k.Name, key.Name) + min(1, distance(k.Namespace, key.Namespace))
		if alike(k.Name, key.Name) {
			distances[k.String()] = d
		}
	}
	return nearest(distances)
}

// nearHosts returns hosts of Routes that are similar to the one asked for.
func nearHosts(routes []*model.RouteSpec, host string) []string {
	distances := map[string]int{}
	options := settings(routes)
	first, _, _ := strings.Cut(host, ".")
	for _, r := range routes {
		for _, tag := range tagsOf(r) {
			external, local := options.Hosts(r, tag)
			for _, h := range slices.Concat(external, local[:min(1, len(local))]) {
				label, _, _ := strings.Cut(h, ".")
				if alike(label, first) {
					distances[h] = distance(h, host)
				}
			}
		}
	}
	return nearest(distances)
}

func nearest(distances map[string]int) []string {
	names := make([]string, 0, len(distances))
	for name := range distances {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(distances[a], distances[b]), cmp.Compare(a, b))
	})
	return names[:min(len(names), mostNear)]
}

// alike says whether a user may have mistyped one name for the other.
func alike(a, b string) bool {
	short := min(len(a), len(b))
	return distance(a, b) <= max(1, short/3) || short >= 3 && (strings.Contains(a, b) || strings.Contains(b, a))
}

// distance returns how many letters must be inserted, deleted, changed, or swapped with their neighbour to make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func find[T any](all []T, is func(T) bool) (found T, ok bool) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return found, false
}
