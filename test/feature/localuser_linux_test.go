package feature

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is a user without rights.
const nobody = 65534

// asNobody runs a function with the file and socket rights of another user, in a thread of its own. It needs root.
func asNobody(t *testing.T, run func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		absent(t, "only root can take the identity of another user")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := errors.Join(syscall.Setfsgid(nobody), syscall.Setfsuid(nobody)); err != nil {
			t.Error(err)
			return
		}
		if now, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, ^uintptr(0), 0, 0); now != nobody { // an invalid user only reads
			t.Errorf("this thread is of user %d: root cannot change its identity here", now)
			return
		}
		run()
	}()
	<-done
}

// family returns a process and all of its descendants.
func family(t *testing.T, pid int) []int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	parents := map[int]int{}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parents[child], _ = strconv.Atoi(fields[1])
	}
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		for child, parent := range parents {
			if parent == found[i] {
				found = append(found, child)
			}
		}
	}
	return found
}

// listened returns the addresses on which processes listen over TCP.
func listened(t *testing.T, pids []int) []string {
	t.Helper()
	var inodes []string
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // none if it has ended
		for _, file := range files {
			if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, "socket:[") {
				inodes = append(inodes, strings.Trim(target, "socket:[]"))
			}
		}
	}
	var found []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue // without IPv6
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && fields[3] == "0A" && slices.Contains(inodes, fields[9]) {
				_, port, _ := strings.Cut(fields[1], ":")
				number, err := strconv.ParseUint(port, 16, 16)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, fmt.Sprint("127.0.0.1:", number))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestLocalUserGetsNothingButTheAnswersOfServices tries every port and every file of a `sluice up`.
func TestLocalUserGetsNothingButTheAnswersOfServices(t *testing.T) {
	onEachGateway(t, localUserGetsNothingButTheAnswersOfServices)
}

func localUserGetsNothingButTheAnswersOfServices(t *testing.T, g gateway) {
	asNobody(t, func() {}) // or skip
	s := g.up(t)
	s.create(newApp(t, "hello", map[string]string{"autoscaling.knative.dev/min-scale": "1"}))
	s.answers(host, 200)
	if err := os.Chmod(s.dir, 0o755); err != nil { // the folder of the test must not be what keeps others out
		t.Fatal(err)
	}
	addresses := listened(t, family(t, s.process.Pid))
	for _, known := range []string{s.gateway, s.local, s.admin, s.xds} {
		if !slices.Contains(addresses, known) {
			t.Errorf("no process listens on %s, only on %v", known, addresses)
		}
	}
	answered := 0
	for _, address := range addresses {
		for _, path := range []string{
			"/", "/metrics", "/config_dump", "/clusters", "/healthz", "/version", "/api", "/debug/pprof/cmdline",
		} {
			for _, secure := range []bool{false, true} {
				status, app := s.askAsNobody(address, path, secure)
				switch {
				case app:
					answered++
				case status != 0 && status < 400:
					t.Errorf("%s%s (TLS: %v) answers another user with %d", address, path, secure, status)
				}
			}
		}
	}
	if answered == 0 {
		t.Error("the service does not answer another user, so the test proves nothing")
	}
	s.closedToNobody()
}

// askAsNobody requests a page from a port and returns the status, 0 without a response, and whether the application answered.
func (s *instance) askAsNobody(address, path string, secure bool) (status int, app bool) {
	t := s.t.(*testing.T)
	var conn net.Conn
	asNobody(t, func() { conn, _ = net.Dial("tcp", address) })
	if conn == nil {
		return 0, false // it was closed meanwhile
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // some servers wait for more
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, false
	}
	response.Body.Close()
	return response.StatusCode, response.Header.Get("App-Process") != ""
}

// closedToNobody fails the test if another user can open anything in the data directory.
func (s *instance) closedToNobody() {
	t := s.t.(*testing.T)
	files, sockets := 0, 0
	err := filepath.WalkDir(filepath.Join(s.dir, ".sluice"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		var opened error
		asNobody(t, func() {
			if entry.Type()&fs.ModeSocket != 0 {
				sockets++
				_, opened = net.Dial("unix", path)
				return
			}
			files++
			_, opened = os.Open(path)
		})
		if !errors.Is(opened, fs.ErrPermission) {
			t.Errorf("another user can open %s: %v", path, opened)
		}
		return nil
	})
	if err != nil || files < 5 || sockets < 2 {
		t.Errorf("the test tried only %d files and %d sockets: %v", files, sockets, err)
	}
}
