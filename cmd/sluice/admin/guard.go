package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// guard decides who may read the pages for operators. The pages change nothing, but show what is not for everybody. Of this machine the
// guard answers the user of this process, root, and the users that the flags name, and no web page in a browser of theirs.
type guard struct {
	name  string // host of the address; empty for all addresses
	users []int
	next  http.Handler
}

// newGuard makes the guard of an address. The error names the user that does not exist.
func newGuard(address string, users []string, next http.Handler) (*guard, error) {
	host, _, _ := net.SplitHostPort(address) // listening says what is wrong with the address
	g := &guard{name: host, users: []int{0, os.Geteuid()}, next: next}
	for _, name := range users {
		number, err := strconv.Atoi(name)
		if err != nil {
			found, err := user.Lookup(name)
			if err != nil {
				return nil, fmt.Errorf("--admin-user %s: %w", name, err)
			}
			if number, err = strconv.Atoi(found.Uid); err != nil {
				return nil, fmt.Errorf("--admin-user %s: %w", name, err)
			}
		}
		g.users = append(g.users, number)
	}
	return g, nil
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this address only reads", http.StatusMethodNotAllowed)
		return
	}
	err := visitorOf(r.Context()).check(g.users)
	if err == nil {
		err = g.check(r)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	g.next.ServeHTTP(w, r)
}

// check refuses requests that a browser sends for a page of another site. After DNS rebinding, the host of such a request is the name of
// that site.
func (g *guard) check(r *http.Request) error {
	host := (&url.URL{Host: r.Host}).Hostname()
	_, err := netip.ParseAddr(host)
	machine, _ := os.Hostname() // an empty name equals no host
	isName := func(name string) bool { return strings.EqualFold(host, name) }
	if host == "" || err != nil && !isName("localhost") && !isName(machine) && !isName(g.name) {
		return fmt.Errorf("the host %.100q is not a name of this address: use its IP address, localhost, or the name of this machine", host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return errors.New("this address does not answer pages of another origin")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return errors.New("this address does not answer pages of another site")
	}
	return nil
}

// visitor is the peer of a connection. Its user is looked up once, at the first request.
type visitor struct {
	conn  net.Conn
	once  sync.Once
	error error
}

type visitorKey struct{}

// rememberVisitor is for http.Server.ConnContext.
func rememberVisitor(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, visitorKey{}, &visitor{conn: conn})
}

func visitorOf(ctx context.Context) *visitor {
	v, _ := ctx.Value(visitorKey{}).(*visitor)
	return v
}

var errOtherUser = errors.New("this address is for the user who runs sluice, and for root; --admin-user lets others in")

// check returns nil if the visitor is a process of one of the users, or another machine, which only an address off loopback lets in.
func (v *visitor) check(users []int) error {
	if v == nil {
		return errOtherUser
	}
	v.once.Do(func() { v.error = checkUser(v.conn.LocalAddr(), v.conn.RemoteAddr(), users) })
	return v.error
}

func checkUser(here, there net.Addr, users []int) error {
	local, ok1 := here.(*net.TCPAddr)
	remote, ok2 := there.(*net.TCPAddr)
	if !ok1 || !ok2 {
		return errOtherUser
	}
	who, found, err := userOf(remote.AddrPort(), local.AddrPort())
	switch {
	case err != nil:
		return fmt.Errorf("cannot look up the user of this connection: %w", err)
	case found && !slices.Contains(users, who), !found && remote.IP.IsLoopback():
		return errOtherUser
	}
	return nil
}
