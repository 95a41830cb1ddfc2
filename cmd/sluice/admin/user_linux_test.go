package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// dialMapped connects a socket for IPv6 to an address of IPv4.
func dialMapped(address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	socket, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(socket), "connection")
	defer f.Close()
	if err := syscall.Connect(socket, &syscall.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

func TestUserOfAConnectionIsFound(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Log(err) // without IPv6
			continue
		}
		defer l.Close()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		here, there := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		if user, found, err := userOf(here, there); err != nil || !found || user != os.Geteuid() {
			t.Errorf("%s: user %d, %v, %v", address, user, found, err)
		}
		if _, found, err := userOf(netip.AddrPortFrom(here.Addr(), 1), there); err != nil || found {
			t.Errorf("%s: a connection that is not there is found, %v", address, err)
		}
	}
}

func TestSocketsThatWereClosedHaveNoUser(t *testing.T) {
	local, remote := netip.MustParseAddrPort("127.0.0.1:4660"), netip.MustParseAddrPort("[::ffff:127.0.0.1]:22136")
	line := func(state, user string) string {
		return "   7: " + tableAddress(local, false) + " " + tableAddress(remote, false) + " " + state +
			" 00000000:00000000 02:000003E8 00000000 " + user + "        0 12345 1 0000000000000000 20 0 0 10 -1\n"
	}
	table := "  sl  local_address rem_address   st\n" + line("05", "0") + line("01", "1000")
	user, found, err := userIn(strings.NewReader(table), tableAddress(local, false), tableAddress(remote, false))
	if err != nil || !found || user != 1000 {
		t.Errorf("got user %d, %v, %v, want that of the connection which is open", user, found, err)
	}
	if _, found, _ := userIn(strings.NewReader(line("06", "0")), tableAddress(local, false), tableAddress(remote, false)); found {
		t.Error("what was closed has a user")
	}
}

// nobody is a user without rights.
const nobody = 65534

// asNobody runs a function with the file and socket rights of another user, in a thread of its own. It needs root.
func asNobody(t *testing.T, run func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("only root can take the identity of another user")
		}
		t.Skip("skipped: only root can take the identity of another user")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := syscall.Setfsuid(nobody); err != nil {
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

func TestAdminAnswersNoOtherUser(t *testing.T) {
	server, invited := guarded(t, "127.0.0.1:9090"), guarded(t, "127.0.0.1:9090", strconv.Itoa(nobody))
	for _, network := range []string{"tcp4", "tcp6"} {
		for _, path := range []string{"/metrics", "/debug/pprof/", "/config_dump", "/healthz"} {
			if status, text := askAsNobody(t, network, server.URL+path); status != 403 || text != errOtherUser.Error()+"\n" {
				t.Errorf("%s over %s: got %d %.200s", path, network, status, text)
			}
		}
		if status, text := askAsNobody(t, network, invited.URL+"/metrics"); status != 200 {
			t.Errorf("who is let in, over %s: got %d %.200s", network, status, text)
		}
	}
	if _, err := newGuard("", []string{"no such user"}, nil); err == nil || !strings.Contains(err.Error(), "--admin-user") {
		t.Errorf("a user that is not there: %v", err)
	}
}

// askAsNobody asks for a page over a socket of another user.
func askAsNobody(t *testing.T, network, url string) (status int, text string) {
	t.Helper()
	var conn net.Conn
	asNobody(t, func() {
		address, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
		dial := net.Dial
		if network == "tcp6" { // reaches IPv4 too, and is in another table of the kernel
			dial = func(_, address string) (net.Conn, error) { return dialMapped(address) }
		}
		var err error
		if conn, err = dial(network, address); err != nil {
			t.Error(err)
		}
	})
	if conn == nil {
		t.Fatal("no connection")
	}
	defer conn.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return conn, nil
	}}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
