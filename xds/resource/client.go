package resource

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"sluice.dev/sluice/contract"
)

// Progress says up to which state the clients of a role have answered.
type Progress struct {
	Role uint8
	// Seq is a state: every connected client of the role has answered for everything that it subscribes to, up to this state. Silent
	// clients are left out. Seq stays the same while no client is connected.
	Seq     uint64
	Clients int // connected clients of the role; a client with several streams counts once for each
}

// Nack is a client's NACK of a response. The client keeps what it had.
type Nack struct {
	Role   uint8
	Client string   // node id
	Type   string   // type URL
	Names  []string // the resources that the text mentions, or all of the response (at most 100) where it mentions none
	Text   string   // the client's error text, shortened to 4 KiB
}

// Rejection is a resource that clients of a role NACK now. A client stops counting when it takes newer content or leaves.
type Rejection struct {
	Role    uint8
	Type    string // type URL
	Name    string
	Version string // the NACKed version; the newest where clients NACK several
	Text    string // the error text of the first client that NACKed it, shortened to 4 KiB
	Client  string // node id of that client
	Clients int    // streams that NACK the name now
	// NeverAcked is how many of them have acknowledged no resource of any type: their NACK says more about them than about the resource.
	NeverAcked int
	// RolledBack says that the server offers the last good content to all clients of the role.
	RolledBack bool
}

// Node is a connected client.
type Node struct {
	ID string
	// Address is where the client takes requests, as its metadata says: an IP address and a port. It is empty if the metadata has
	// none that can be used.
	Address string
}

// NodeOf is the id and address of a client that has sent this node.
func NodeOf(node *corev3.Node) Node {
	return Node{ID: node.GetId(), Address: addressOf(node)}
}

func addressOf(node *corev3.Node) string {
	text := node.GetMetadata().GetFields()[contract.MetadataKey].GetStructValue().GetFields()[contract.AddressField].GetStringValue()
	address, err := netip.ParseAddrPort(text)
	if err != nil || address.Port() == 0 || address.Addr().IsUnspecified() || address.Addr().Zone() != "" {
		return ""
	}
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port()).String()
}

// SaysUnbound is whether the error text of a listener's NACK says that the client cannot bind the address. The server sends such a
// listener again every half minute or sooner.
func SaysUnbound(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "cannot bind") || strings.Contains(text, ": bind: ")
}
