package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "sluice.dev/sluice"

// everywhere is the package that any other may import.
const everywhere = "contract"

// layers says which packages of ours a package may import. A name covers the packages below it that have no row of their own.
// Every package needs a row, and every permission a package that uses it; "" permits everything.
var layers = map[string][]string{
	everywhere:                     {},
	"model":                        {},
	"dataplane/queueproxy/breaker": {},
	"dataplane/framing":            {},
	"dataplane/intake":             {"dataplane/framing"},
	"dataplane/lost":               {},
	"dataplane/peer":               {},
	"dataplane/replay":             {},
	"dataplane/tracing":            {"model"},
	"dataplane/tracing/discovery":  {"model"},
	"dataplane/tracing/otlp":       {"model", "dataplane/tracing"},
	"rollout":                      {"model"},
	"translator":                   {"model"},
	"autoscaler":                   {"model"},
	"autoscaler/simulate":          {"model", "autoscaler", "autoscaler/forecast", "autoscaler/predictive", "autoscaler/schedule"},
	"autoscaler/scrape":            {"model"},
	"autoscaler/hpa":               {"model"},
	"autoscaler/loop": {"model", "autoscaler", "autoscaler/forecast", "autoscaler/hpa", "autoscaler/predictive",
		"autoscaler/schedule", "autoscaler/scrape"},
	"autoscaler/schedule":   {"model"},
	"autoscaler/forecast":   {},
	"autoscaler/predictive": {"model", "autoscaler/forecast"},
	"xds":                   {"xds/resource", "xds/offer", "xds/session", "xds/csds", "xds/lrs"},
	"xds/resource":          {},
	"xds/offer":             {"xds/resource"},
	"xds/session":           {"xds/resource", "xds/offer"},
	"xds/csds":              {"xds/resource", "xds/offer", "xds/session"},
	"xds/lrs":               {"xds/resource"},
	"xds/client":            {},
	"xds/status":            {"xds/resource", "xds/csds"},
	"xds/allow":             {},
	"certificate":           {},
	"envoy":                 {},
	"config":                {"autoscaler", "crds/serving", "model", "rollout"},
	"crds":                  {"crds/autoscaling", "crds/serving"},
	"crds/serving":          {"crds/serving"},
	"crds/autoscaling":      {"crds/serving"},
	"crds/networking":       {},
	"crds/convert":          {"crds/autoscaling", "crds/serving", "model"},
	"explain":               {"model", "rollout"},
	"explain/tree":          {"explain"},
	"controlplane":          {"model", "translator", "xds/resource"},
	"dataplane/queueproxy": {"model", "dataplane/framing", "dataplane/intake", "dataplane/lost", "dataplane/peer",
		"dataplane/queueproxy/breaker", "dataplane/tracing"},
	"dataplane/gateway": {"model", "dataplane/tracing", "dataplane/tracing/otlp", "xds/client", "dataplane/gateway/config",
		"dataplane/gateway/listener", "dataplane/gateway/proxy",
		"dataplane/gateway/settings"},
	"dataplane/gateway/settings": {},
	"dataplane/gateway/config":   {"dataplane/gateway/settings", "dataplane/tracing/discovery"},
	"dataplane/gateway/listener": {"dataplane/framing", "dataplane/gateway/settings"},
	"dataplane/gateway/proxy":    {"model", "dataplane/framing", "dataplane/replay", "dataplane/tracing", "dataplane/gateway/settings"},
	"dataplane/activator": {"model", "dataplane/framing", "dataplane/intake", "dataplane/lost", "dataplane/peer", "dataplane/replay",
		"dataplane/tracing", "dataplane/tracing/discovery", "dataplane/tracing/otlp",
		"xds/client", "dataplane/activator/dispatch", "dataplane/activator/upstream"},
	"dataplane/activator/dispatch": {"dataplane/activator/upstream"},
	"dataplane/activator/upstream": {"model"},
	"kube": {"model", "rollout", "crds",
		"kube/world", "kube/fleet", "kube/images", "kube/secret", "kube/events", "kube/notebook", "kube/schedule"},
	"kube/world":         {"model"},
	"kube/fleet":         {"model"},
	"kube/images":        {"model", "crds"},
	"kube/schedule":      {"crds", "model"},
	"kube/secret":        {"model"},
	"kube/events":        {"model", "crds", "kube/notebook"},
	"kube/notebook":      {},
	"kube/configmap":     {"config"},
	"kube/deployment":    {"model", "crds"},
	"kube/digest":        {"crds"},
	"standalone":         {"model", "crds", "dataplane/queueproxy", "dataplane/tracing", "standalone"},
	"cmd":                {""},
	"cmd/sluice/admin":   {"cmd/sluice/stage", "envoy", "standalone/socket"},
	"cmd/sluice/command": {},
	"cmd/sluice/dataplane": {"cmd/sluice/admin", "cmd/sluice/command", "cmd/sluice/stage", "cmd/sluice/transport", "dataplane/activator",
		"dataplane/gateway", "envoy"},
	"cmd/sluice/facts": {"cmd/sluice/inspect", "cmd/sluice/manifest", "cmd/sluice/transport", "crds", "explain", "model",
		"standalone/folder", "xds"},
	"cmd/sluice/inspect": {"cmd/sluice/transport", "translator", "xds"},
	"cmd/sluice/install": {"config", "crds"},
	"cmd/sluice/load":    {"autoscaler/loop", "envoy", "model", "xds"},
	"cmd/sluice/loops": {"autoscaler", "autoscaler/external", "autoscaler/loop", "autoscaler/schedule", "autoscaler/scrape",
		"cmd/sluice/load", "cmd/sluice/metrics", "cmd/sluice/stage", "cmd/sluice/transport", "controlplane", "crds", "kube", "kube/binding",
		"model", "xds"},
	"cmd/sluice/manifest":   {"crds", "model", "rollout"},
	"cmd/sluice/metrics":    {"autoscaler/loop", "controlplane", "model", "xds"},
	"cmd/sluice/policy":     {"autoscaler", "cmd/sluice/manifest", "config", "crds", "model"},
	"cmd/sluice/preview":    {"autoscaler/schedule", "autoscaler/simulate"},
	"cmd/sluice/preflight":  {"cmd/sluice/install"},
	"cmd/sluice/removal":    {"cmd/sluice/install"},
	"cmd/sluice/remote":     {"cmd/sluice/install", "cmd/sluice/transport"},
	"cmd/sluice/sample":     {},
	"cmd/sluice/send":       {"cmd/sluice/command", "cmd/sluice/taskclient", "event/intake", "event/task"},
	"cmd/sluice/taskclient": {"event/intake", "event/task"},
	"cmd/sluice/stage":      {},
	"cmd/sluice/transport":  {"certificate", "cmd/sluice/stage", "envoy", "standalone/folder", "standalone/socket", "xds"},
	"examples":              {},
	"test":                  {""},

	"autoscaler/external":                {"model", "autoscaler/external/externalscaler"},
	"autoscaler/external/externalscaler": {},
	"kube/binding":                       {"crds/autoscaling", "crds/serving", "model"},
	"cmd/sluice/conformance":             {"autoscaler/external/externalscaler"},

	"event/cloudevent":      {},
	"cmd/sluice/tasks":      {"event/cloudevent", "event/intake", "event/runner", "event/sink", "event/store"},
	"event/task":            {},
	"event/store":           {"event/task"},
	"event/intake":          {"event/store", "event/task"},
	"event/runner":          {"event/store", "event/task"},
	"event/sink":            {},
	"event/store/bolt":      {"event/store", "event/task"},
	"event/store/jetstream": {"event/store", "event/task"},
	"event/store/storetest": {"event/store", "event/task"},
}

// foreign says where packages of others may be imported, by the beginning of their path, and why nowhere else.
var foreign = []struct {
	prefixes []string
	allowed  []string
	why      string
}{
	{
		prefixes: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"},
		allowed:  []string{"kube", "standalone", "cmd", "test", "examples"},
		why:      "a Kubernetes client belongs to an adapter: the rest takes values",
	},
	{
		prefixes: []string{"k8s.io/", "sigs.k8s.io/controller", "sigs.k8s.io/structured"},
		allowed:  []string{"config", "crds", "kube", "standalone", "cmd", "test", "examples"},
		why:      "Kubernetes types stop at the adapter",
	},
	{
		prefixes: []string{"github.com/envoyproxy/", "github.com/cncf/xds"},
		allowed: []string{"translator", "xds", "envoy", "dataplane/gateway", "dataplane/activator", "dataplane/tracing/discovery", "cmd",
			"test"},
		why: "Envoy's protos stop at the translator and at those who speak xDS",
	},
	{
		prefixes: []string{"."},
		allowed: []string{"xds", "envoy", "certificate", "config", "crds", "controlplane", "dataplane/lost", "dataplane/queueproxy",
			"dataplane/gateway", "dataplane/activator", "dataplane/tracing", "kube", "standalone", "cmd", "test", "translator",
			"autoscaler/loop",
			"autoscaler/schedule", "autoscaler/external", "event/runner", "event/store/bolt", "event/store/jetstream",
			"event/cloudevent", "examples"},
		why: "this package builds on the standard library alone",
	},
}

// clockless are the pure packages, and what makes a function impure when it is imported there.
var clockless = []string{
	"model", "rollout", "translator", "autoscaler", "autoscaler/hpa", "autoscaler/schedule", "autoscaler/forecast",
	"autoscaler/predictive", "config",
	"autoscaler/simulate",
	"autoscaler/simulate/chart", "explain", "dataplane/gateway/config", "dataplane/tracing/discovery", "xds/resource", "xds/offer",
	"cmd/sluice/install", "cmd/sluice/install/chart", "event/task",
}

var impure = []string{
	"net", "net/http", "os", "os/exec", "math/rand", "math/rand/v2", "crypto/rand", "context", "log", "log/slog",
	"github.com/hashicorp/go-hclog",
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		row, ok := rowOf(name)
		if !ok {
			t.Errorf("package %q stands in no row of the table of layers (ARCHITECTURE.md, test/arch)", name)
			continue
		}
		for _, imported := range p.Imports {
			if err := allowed(row, name, imported); err != nil {
				t.Errorf("%s imports %s: %v", name, imported, err)
			}
		}
	}
}

func TestEveryPermissionIsUsed(t *testing.T) {
	all := packages(t)
	for row, permissions := range layers {
		imports, found := importsOf(all, func(name string) bool { of, _ := rowOf(name); return of == row })
		if !found {
			t.Errorf("the table of layers has a row for %q, which covers no package", row)
		}
		for _, permission := range permissions {
			if permission != "" && !slices.ContainsFunc(imports, func(i string) bool {
				inner, ours := strings.CutPrefix(i, module+"/")
				return ours && within(inner, permission)
			}) {
				t.Errorf("%q may import %q and does not: remove the permission", row, permission)
			}
		}
	}
	for _, f := range foreign {
		for _, permission := range f.allowed {
			imports, _ := importsOf(all, func(name string) bool { return within(name, permission) })
			if !slices.ContainsFunc(imports, func(i string) bool { return isForeign(i) && hits(f.prefixes, i) }) {
				t.Errorf("%q may import %v and does not: remove the permission", permission, f.prefixes)
			}
		}
	}
	for _, name := range clockless {
		if _, found := importsOf(all, func(n string) bool { return n == name }); !found {
			t.Errorf("the list of pure packages names %q, which does not exist", name)
		}
	}
}

// importsOf returns the imports of all packages that covers holds for, and whether there is such a package.
func importsOf(all []goPackage, covers func(name string) bool) (imports []string, found bool) {
	for _, p := range all {
		if covers(strings.TrimPrefix(p.ImportPath, module+"/")) {
			found = true
			imports = append(imports, p.Imports...)
		}
	}
	return imports, found
}

func TestPurePackagesImportNothingImpure(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if !slices.Contains(clockless, name) {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(impure, imported) {
				t.Errorf("%s imports %s: a pure package takes values and returns values", name, imported)
			}
		}
	}
}

func TestSmallProcessesStaySmall(t *testing.T) {
	for name, heavy := range map[string][]string{
		"dataplane/queueproxy": {"k8s.io/", "github.com/envoyproxy/", "go.etcd.io/"},
		"cmd/data-plane":       {"k8s.io/", "go.etcd.io/", module + "/kube"},
	} {
		out, err := exec.Command("go", "list", "-deps", module+"/"+name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			if slices.ContainsFunc(heavy, func(prefix string) bool { return strings.HasPrefix(dep, prefix) }) {
				t.Errorf("%s depends on %s, which every process of it would keep in memory", name, dep)
			}
		}
	}
}

func TestTheRequestPathOfTheGatewayHoldsNoProto(t *testing.T) {
	for _, room := range []string{"settings", "listener", "proxy"} {
		out, err := exec.Command("go", "list", "-deps", module+"/dataplane/gateway/"+room).Output()
		if err != nil {
			t.Fatal(err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			for _, proto := range []string{
				"github.com/envoyproxy/", "github.com/cncf/xds/", "google.golang.org/protobuf/", "google.golang.org/grpc", module + "/xds",
			} {
				if strings.HasPrefix(dep, proto) {
					t.Errorf("dataplane/gateway/%s depends on %s: "+
						"config compiles Envoy's resources, and the request path reads plain values", room, dep)
				}
			}
		}
	}
}

func allowed(row, name, imported string) error {
	if inner, ours := strings.CutPrefix(imported, module+"/"); ours {
		if inner == name || inner == everywhere || within(name, row) && sameRow(inner, row) {
			return nil
		}
		for _, a := range layers[row] {
			if within(inner, a) {
				return nil
			}
		}
		return fmt.Errorf("%q may import of ours: %v", row, layers[row])
	}
	if !isForeign(imported) {
		return nil // the standard library
	}
	for _, f := range foreign {
		if hits(f.prefixes, imported) && !slices.ContainsFunc(f.allowed, func(a string) bool { return within(name, a) }) {
			return errors.New(f.why)
		}
	}
	return nil
}

// sameRow says whether a package stands in a row of its own right, and not in one of a package below it.
func sameRow(name, row string) bool {
	of, found := rowOf(name)
	return found && row != "" && of == row
}

// isForeign says whether a package is neither ours nor of the standard library.
func isForeign(imported string) bool {
	return strings.Contains(strings.Split(imported, "/")[0], ".") && !within(imported, module)
}

// hits says whether the path of a foreign package begins with one of these prefixes; "." is the beginning of all.
func hits(prefixes []string, imported string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return p == "." || strings.HasPrefix(imported, p) })
}

// rowOf finds the longest name in the table that covers the package.
func rowOf(name string) (string, bool) {
	best, found := "", false
	for row := range layers {
		if within(name, row) && len(row) >= len(best) {
			best, found = row, true
		}
	}
	return best, found
}

func within(name, parent string) bool {
	return parent == "" || name == parent || strings.HasPrefix(name, parent+"/")
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
