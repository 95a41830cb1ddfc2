package admin

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
)

// established is the state of a connection that neither side has closed, as the kernel's tables write it.
const established = "01"

// lookups lets one goroutine at a time read the kernel's tables, so that many connections cannot occupy all processors.
var lookups sync.Mutex

// userOf finds the user of the process that has the local end of a TCP connection to remote, if that process is on this machine. A
// closed socket has no user.
func userOf(local, remote netip.AddrPort) (user int, found bool, err error) {
	lookups.Lock()
	defer lookups.Unlock()
	for _, table := range []struct {
		path          string
		local, remote string
	}{
		{"/proc/net/tcp", tableAddress(local, false), tableAddress(remote, false)},
		{"/proc/net/tcp6", tableAddress(local, true), tableAddress(remote, true)},
	} {
		f, err := os.Open(table.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // without IPv6
		}
		if err != nil {
			return 0, false, err
		}
		user, found, err = userIn(f, table.local, table.remote)
		f.Close()
		if found || err != nil {
			return user, found, err
		}
	}
	return 0, false, nil
}

// userIn looks for a connection in a table of the kernel.
func userIn(table io.Reader, local, remote string) (user int, found bool, err error) {
	for lines := bufio.NewScanner(table); lines.Scan(); {
		line := lines.Text()
		if local == "" || !strings.Contains(line, local) {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) > 7 && fields[1] == local && fields[2] == remote && fields[3] == established {
			user, err = strconv.Atoi(fields[7])
			return user, err == nil, err
		}
	}
	return 0, false, nil
}

// tableAddress formats an address like the kernel's tables: 32-bit words in the machine's byte order, as hexadecimal digits. It is empty
// for an IPv6 address in the table for IPv4.
func tableAddress(a netip.AddrPort, wide bool) string {
	address := a.Addr().Unmap()
	var bytes []byte
	switch {
	case wide:
		all := address.As16()
		bytes = all[:]
	case address.Is4():
		all := address.As4()
		bytes = all[:]
	default:
		return ""
	}
	var text strings.Builder
	for ; len(bytes) > 0; bytes = bytes[4:] {
		fmt.Fprintf(&text, "%08X", binary.NativeEndian.Uint32(bytes))
	}
	fmt.Fprintf(&text, ":%04X", a.Port())
	return text.String()
}
