package socket

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestAnAddressThatBecomesFreeIsListenedOn(t *testing.T) {
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := holder.Addr().String()
	if _, err := Listen(t.Context(), address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v while another listens, want EADDRINUSE", err)
	}
	// A copy of the descriptor keeps the socket open, as in a child that has not executed its program yet.
	left, err := holder.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	holder.Close()
	if l, err := net.Listen("tcp", address); err == nil {
		l.Close()
		t.Fatal("the copy does not hold the address")
	}
	go left.Close()
	l, err := Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestAddressThatCannotBeHadIsNamedWithItsFlag(t *testing.T) {
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	for address, want := range map[string]string{
		holder.Addr().String(): "--http " + holder.Addr().String() +
			" is in use: stop what listens there, or choose another address with --http",
		"127.0.0.1:none": "cannot listen on --http 127.0.0.1:none: ",
	} {
		if _, err := ListenFor("--http", address); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
