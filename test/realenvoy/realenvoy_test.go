package realenvoy

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestComplaintsOfALog(t *testing.T) {
	for name, test := range map[string]struct {
		log  string
		want []string
	}{
		"clean": {"[2026-11-30 10:11:16.371][18513][info][main] [source/server/server.cc:430] statically linked extensions:\n" +
			"[2026-11-30 10:11:16.371][18513][info][main] [source/server/server.cc:430]   envoy.filters.http: envoy.filters.http.router\n",
			nil},
		"of Envoy": {"[2026-11-30 10:11:16.371][18513][warning][main] [source/server/server.cc:1] no limit\nand more\n[2026-11-30 " +
			"10:11:16.371][1][info][main] [a.cc:1] x\n",
			[]string{"[2026-11-30 10:11:16.371][18513][warning][main] [source/server/server.cc:1] no limit\nand more"}},
		"with tabs": {"info\tmain\tx\ncritical\tassert\tassert failure: x\n", []string{"critical\tassert\tassert failure: x"}},
		"of sluice up": {"10:11:16.398 [INFO]  sluice.envoy: x: logger=main\n10:11:16.398 [WARN]  sluice.kubernetes: not Envoy's: " +
			"a=deprecated\n" +
			"10:11:16.398 [WARN]  sluice.envoy: y: logger=main\n2026-11-30T10:11:16.398Z [ERROR] sluice.envoy: z: logger=main\n",
			[]string{"10:11:16.398 [WARN]  sluice.envoy: y: logger=main", "2026-11-30T10:11:16.398Z [ERROR] sluice.envoy: z: logger=main"}},
		"wrong at any level": {"info\tmisc\tDeprecated field: type x\ninfo\tmisc\tUnknown field in y\ninfo\tenvoy_bug\tEnvoy bug " +
			"failure: z\n",
			[]string{"info\tmisc\tDeprecated field: type x", "info\tmisc\tUnknown field in y", "info\tenvoy_bug\tEnvoy bug failure: z"}},
		"ending on SIGTERM": {"warning\tmain\tcaught ENVOY_SIGTERM\nwarning\tconfig\tclosed\ninfo\tmain\tinitializing epoch " +
			"0\nwarning\tconfig\tagain\n",
			[]string{"warning\tconfig\tagain"}},
		"paths of requests": {"10:11:16.398 [INFO]  sluice.envoy.access: {\"path\":\"/deprecated\"}\n{\"path\":\"/deprecated\"}\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Complaints(test.log, "")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestComplaintsOfFigures(t *testing.T) {
	stats := `cluster.activator.update_rejected: 0
cluster_manager.cds.update_rejected: 1
server.envoy_bug_failures: 2
http.http.downstream_rq_total: 7
envoy_cluster_update_rejected{envoy_cluster_name="a/b"} 10
envoy_server_static_unknown_fields{} 0
envoy_server_dynamic_unknown_fields{} 3
runtime.deprecated_feature_use: 4
`
	want := []string{"cluster_manager.cds.update_rejected: 1", "server.envoy_bug_failures: 2",
		`envoy_cluster_update_rejected{envoy_cluster_name="a/b"} 10`,
		"envoy_server_dynamic_unknown_fields{} 3"}
	if diff := cmp.Diff(want, Complaints("", stats, regexp.MustCompile(`deprecated_feature`))); diff != "" {
		t.Error(diff)
	}
}

func TestInstalledEnvoysAreSortedByVersion(t *testing.T) {
	root := t.TempDir()
	for _, version := range []string{"1.40.0", "bin", "1.9.0", "1.36.4"} {
		dir := filepath.Join(root, ".envoy", version)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "envoy"), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(root, ".envoy", "2.0.0")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, path := range installed(root) {
		got = append(got, Name(path))
	}
	if diff := cmp.Diff([]string{"1.9.0", "1.36.4", "1.40.0"}, got); diff != "" {
		t.Error(diff)
	}
}
