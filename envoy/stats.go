package envoy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ClusterStats is the load of one cluster as Envoy counts it: `namespace/revision` for our clusters.
//
// It is that of the cluster as a whole. Unlike a load report (LRS) it does not separate the zones, so requests to replicas and requests to
// activators are one number, and activators report the latter too: a sum of both must leave out one of them. It does not separate streams
// from other requests either.
type ClusterStats struct {
	Cluster string
	// Active are the requests in progress, Pending those that wait for a connection.
	Active, Pending uint64
	// Total is how many requests there were since Envoy started.
	Total uint64
}

// The names of the metrics that are read.
const (
	statPrefix   = "envoy_cluster_upstream_rq_"
	statActive   = statPrefix + "active"
	statPending  = statPrefix + "pending_active"
	statTotal    = statPrefix + "total"
	clusterLabel = "envoy_cluster_name"
	// statFilter makes Envoy leave out the other metrics. A gateway that does not know the parameter sends all of them.
	statFilter = `^cluster\..+\.upstream_rq_(active|pending_active|total)$`
)

const (
	// maxStatLine is the length of a line in bytes.
	maxStatLine = 64 << 10
	// maxActive and maxTotal are more than is possible.
	maxActive, maxTotal = 1e9, 1e15
)

// ParseStats parses the Prometheus text that Envoy's admin interface has at /stats/prometheus, and returns the clusters sorted by name. It
// ignores other metrics. A page with impossible values, or without any metric of Envoy, is an error.
func ParseStats(page io.Reader) ([]ClusterStats, error) {
	clusters := map[string]*ClusterStats{}
	envoys := false
	lines := bufio.NewScanner(page)
	lines.Buffer(make([]byte, 4<<10), maxStatLine)
	for lines.Scan() {
		line := lines.Bytes()
		envoys = envoys || bytes.HasPrefix(line, []byte("envoy_"))
		if !bytes.HasPrefix(line, []byte(statPrefix)) {
			continue
		}
		name, cluster, n, err := parseStat(string(line))
		if err != nil {
			return nil, fmt.Errorf("reading Envoy's stats: %w", err)
		}
		if cluster == "" {
			continue // another metric
		}
		c := clusters[cluster]
		if c == nil {
			c = &ClusterStats{Cluster: cluster}
			clusters[cluster] = c
		}
		c.add(name, n)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading Envoy's stats: %w", err)
	}
	if !envoys {
		return nil, errors.New("reading Envoy's stats: there is none, want Prometheus text with names that begin with envoy_")
	}
	return sorted(clusters), nil
}

// parseStat parses a line; the cluster is empty when the line has none of our metrics.
func parseStat(line string) (name, cluster string, n uint64, err error) {
	name, labels, value, ok := splitStat(line)
	if !ok {
		return "", "", 0, fmt.Errorf("%.100q is no line of Prometheus text", line)
	}
	most := maxActive
	switch name {
	case statTotal:
		most = maxTotal
	case statActive, statPending:
	default:
		return "", "", 0, nil
	}
	number, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(number) || number < 0 || number > most {
		return "", "", 0, fmt.Errorf("%.100q has not a value of 0 to %.0f", line, most)
	}
	return name, labels[clusterLabel], uint64(number), nil
}

func sorted(clusters map[string]*ClusterStats) []ClusterStats {
	all := make([]ClusterStats, 0, len(clusters))
	for _, c := range clusters {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b ClusterStats) int { return strings.Compare(a.Cluster, b.Cluster) })
	return all
}

// add adds a value to its cluster: a user's own stats tags may split the metric of a cluster.
func (c *ClusterStats) add(name string, n uint64) {
	switch name {
	case statActive:
		c.Active += n
	case statPending:
		c.Pending += n
	case statTotal:
		c.Total += n
	}
}

// splitStat splits `name{label="value",…} value`.
func splitStat(line string) (name string, labels map[string]string, value string, ok bool) {
	end := strings.IndexAny(line, "{ ")
	if end < 0 {
		return "", nil, "", false
	}
	name, rest := line[:end], line[end:]
	if rest[0] == '{' {
		if labels, rest, ok = splitLabels(rest[1:]); !ok {
			return "", nil, "", false
		}
	}
	value = strings.TrimSpace(rest)
	return name, labels, value, value != ""
}

// splitLabels parses labels up to the closing brace. Values are quoted, with \\, \" and \n in them.
func splitLabels(text string) (labels map[string]string, rest string, ok bool) {
	labels = map[string]string{}
	for {
		text = strings.TrimLeft(text, ", ")
		if after, found := strings.CutPrefix(text, "}"); found {
			return labels, after, true
		}
		name, after, found := strings.Cut(text, `="`)
		if !found {
			return nil, "", false
		}
		end := 0
		for end < len(after) && after[end] != '"' {
			if after[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(after) {
			return nil, "", false
		}
		labels[name] = unescapeStat.Replace(after[:end])
		text = after[end+1:]
	}
}

var unescapeStat = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
