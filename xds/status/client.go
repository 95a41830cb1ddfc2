package status

import (
	"time"

	"google.golang.org/protobuf/types/known/anypb"
)

// Client is one stream of a client as the server knows it.
type Client struct {
	ID        string          `json:"id"`
	Scope     string          `json:"scope"` // tells the streams of a client apart
	Role      string          `json:"role"`
	Protocol  string          `json:"protocol"` // delta or sotw
	Service   string          `json:"service"`  // ads, or the only type of the stream
	Connected time.Time       `json:"connected"`
	Heard     time.Time       `json:"heard"`    // when it last said something
	Sequence  uint64          `json:"sequence"` // newest state that it has answered for
	Newest    uint64          `json:"newest"`   // newest state
	LagMillis int64           `json:"lagMs"`    // how long it has been behind, in milliseconds
	Pushes    uint64          `json:"pushes"`
	Bytes     uint64          `json:"bytes"`
	Acks      uint64          `json:"acks"`
	Nacks     uint64          `json:"nacks"`
	Silent    bool            `json:"silent"`  // it did not answer in time, and the server goes ahead without it
	Unknown   bool            `json:"unknown"` // it does not read what it is sent: what it has is unknown
	Types     map[string]Type `json:"types"`   // by short name
	Resources []Resource      `json:"resources,omitempty"`
}

// Type is one type at a client.
type Type struct {
	URL      string `json:"url"`
	Wildcard bool   `json:"wildcard"` // it is subscribed to everything
	Synced   int    `json:"synced"`
	Absent   int    `json:"absent"`  // subscribed to, but they do not exist
	Stale    int    `json:"stale"`   // sent and not answered
	NotSent  int    `json:"notSent"` // pending
	Rejected int    `json:"rejected"`
}

// State of a resource at a client.
type State string

// The states.
const (
	Synced   State = "synced"
	Absent   State = "absent"   // the resource does not exist, and the client knows
	Stale    State = "stale"    // newer content was sent, and the client has not answered
	NotSent  State = "not sent" // newer content is pending
	Rejected State = "rejected" // the client NACKs it
	Offered  State = "offered"  // it is part of the desired state
)

// Resource is one resource at a client, or one of the desired state.
type Resource struct {
	TypeURL   string     `json:"typeUrl"`
	Name      string     `json:"name"`
	Version   string     `json:"version,omitempty"` // acknowledged by the client; empty: none
	State     State      `json:"state"`
	Updated   *time.Time `json:"updated,omitempty"` // when the content came into force
	Content   *anypb.Any `json:"-"`                 // nil if the query or the server left it out
	Rejection *Rejection `json:"rejection,omitempty"`
}

// Rejection is a client's NACK of a resource.
type Rejection struct {
	Version string     `json:"version,omitempty"` // NACKed; empty: no longer known
	Text    string     `json:"text"`
	At      *time.Time `json:"at,omitempty"`
	Content *anypb.Any `json:"-"`
}
