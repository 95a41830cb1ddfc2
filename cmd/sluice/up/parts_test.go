package up

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/model"
)

func TestServicesAreAnnouncedAfterTheBeginning(t *testing.T) {
	var out strings.Builder
	a := announcer{out: &out}
	a.service(model.Key{Namespace: "default", Name: "early"}, "http://early")
	if out.Len() > 0 {
		t.Errorf("it prints %q before the beginning", out.String())
	}
	a.begin("sluice is ready\n")
	a.service(model.Key{Namespace: "default", Name: "late"}, "http://late")
	fmt.Fprintln(&a, "{}")
	if want := "sluice is ready\ndefault/early is ready: http://early\ndefault/late is ready: http://late\n{}\n"; out.String() != want {
		t.Errorf("it prints %q, want %q", out.String(), want)
	}
}

func TestProgramIsLinkedWhereServicesFindIt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{DataDir: t.TempDir(), Program: self}
	for range 2 { // the second replaces the link of the first
		bin, err := o.linkProgram()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(filepath.Join(bin, "sluice")); err != nil || got != self || bin != filepath.Join(o.DataDir, "bin") {
			t.Errorf("%s/sluice leads to %s, %v", bin, got, err)
		}
	}
	want := thisProgram
	if _, err := os.Stat(thisProgram); err != nil { // without /proc
		want = self
	}
	if got := o.storeCommand()("dir", "socket", true); got.Path != want ||
		strings.Join(got.Args[1:], " ") != "store --dir dir --socket socket --existing" {
		t.Errorf("the store runs as %s %v, want this program whatever has its name now", got.Path, got.Args)
	}
	o.Program = "/usr/bin/env"
	if got := o.storeCommand()("dir", "socket", false); got.Path != o.Program ||
		strings.Join(got.Args[1:], " ") != "store --dir dir --socket socket" {
		t.Errorf("the store of another program runs as %s %v", got.Path, got.Args)
	}
	if none := (&Options{}).storeCommand(); none != nil {
		t.Error("without a program the store is a process")
	}
}

func TestURLsHaveThePortOfTheGateway(t *testing.T) {
	for address, want := range map[string]int{"127.0.0.1:8080": 8080, "127.0.0.1:80": 0, ":9000": 9000} {
		if got := (&Options{HTTP: address, Domain: "example.com"}).rollout(); got.Port != want || got.Domain != "example.com" {
			t.Errorf("%s: got %+v, want port %d", address, got, want)
		}
	}
}

func TestBoundsOfTheMachineArePositive(t *testing.T) {
	if n := mostReplicas(); n < 10 || n > replicasPlenty {
		t.Errorf("%d replicas by default, want 10 to %d", n, replicasPlenty)
	}
	if few, many := heldAtMost(10), heldAtMost(100_000); few < 0 || many != 0 && many != 100 {
		t.Errorf("%d and %d requests wait beside 10 and 100,000 replicas, want the default or at least 100", few, many)
	}
	if bytes := memory(); bytes < 0 {
		t.Errorf("the machine has %d bytes", bytes)
	}
}
