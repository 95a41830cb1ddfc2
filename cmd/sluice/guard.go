package main

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

// guard stands before the pages for operators. They only read, and yet tell what is not for everybody: within this machine it lets in
// the user whom the process belongs to, root, and whom the flags name, and it lets no web page use the browser of any of them.
type guard struct {
	name  string // that the address was given by; empty for all addresses
	users []int
	next  http.Handler
}

// newGuard makes the guard of an address. The error says which of the users there is not.
func newGuard(address string, users []string, next http.Handler) (*guard, error) {
	host, _, _ := net.SplitHostPort(address) // whoever listens on it says what is wrong with it
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

// check turns away requests that a browser sends for somebody else's page: one whose name has been made to lead here (DNS rebinding)
// has that name as the host.
func (g *guard) check(r *http.Request) error {
	host := (&url.URL{Host: r.Host}).Hostname()
	_, err := netip.ParseAddr(host)
	machine, _ := os.Hostname() // without one it has no name
	if err != nil && !strings.EqualFold(host, "localhost") && !strings.EqualFold(host, machine) && !strings.EqualFold(host, g.name) || host == "" {
		return fmt.Errorf("the host %.100q is not what this address is called: use its IP address, localhost, or the name of this machine", host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return errors.New("this address answers no page of another origin")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return errors.New("this address answers no page of another site")
	}
	return nil
}

// visitor is who is at the other end of a connection. It is found out once, at the first request.
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

// check returns nil if the visitor may be here: a process of one of the users, or, where the address was opened to them, another machine.
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
		return fmt.Errorf("it cannot be found out who asks: %w", err)
	case found && !slices.Contains(users, who), !found && remote.IP.IsLoopback():
		return errOtherUser
	}
	return nil
}
