package offer

import (
	"cmp"
	"slices"
	"time"

	"sluice.dev/sluice/xds/resource"
)

// maxRejections is how many rejections Rejections lists.
const maxRejections = 1000

// nacks is what is known of a name that clients of a role NACK.
type nacks struct {
	version, text, client string // the newest version that is NACKed, and the first client that did it with its error text
	clients, neverAcked   int    // neverAcked of the clients have acknowledged no resource of any type
}

func (n *nacks) count(neverAcked bool, by int) {
	n.clients += by
	if neverAcked {
		n.neverAcked += by
	}
}

// Nack is a client's NACK of one resource, as an input.
type Nack struct {
	Entry      *Entry // the NACKed content
	Client     string // node id
	Text       string // the client's error text
	NeverAcked bool   // the client has acknowledged no resource of any type
	// LocalOnly says that the reason is not the content, but the machine that the client runs on: nothing is rolled back because of it.
	LocalOnly bool
	HadAcked  bool // the client has acknowledged content of the name before
	InUse     bool // the client has acknowledged this very content before
	// Unanimous is whether all other clients that are subscribed to the name NACK the content too. The state calls it at most once, and
	// only if it matters.
	Unanimous func() bool
}

// Rejection is one client's NACK of a name, while it lasts. The caller keeps it, and gives it back to Withdraw.
type Rejection struct {
	Content *Entry
	At      time.Time
	text    string // the client's own error text; empty: that of the record
	record  *nacks
}

// Zero is whether it is the zero value: no rejection.
func (r *Rejection) Zero() bool { return r.record == nil }

// DropText has the rejection keep no error text of its own, so that a client which NACKs very much does not fill the memory.
func (r *Rejection) DropText() { r.text = "" }

// Text is the client's error text, or where that was not kept, the text of the first client that NACKed the name.
func (s *State) Text(r *Rejection) string {
	if r.text == "" && r.record != nil {
		return r.record.text
	}
	return r.text
}

// NACK says that a client NACKs content. The result takes the place of the client's rejection of the name before, if there was one.
func (s *State) NACK(key Key, n Nack, before Rejection, now time.Time) Rejection {
	name := n.Entry.Name
	t := s.tables[key]
	record := s.record(t, name)
	if record.version != n.Entry.Version {
		record.version, record.text, record.client = n.Entry.Version, n.Text, n.Client
	}
	if before.record != record {
		record.count(n.NeverAcked, 1)
		if !before.Zero() {
			before.record.count(n.NeverAcked, -1)
		}
	}
	r := Rejection{Content: n.Entry, At: now, text: n.Text, record: record}
	if record.text == n.Text {
		r.text = ""
	}
	s.noteRejections()
	if t != nil && !n.LocalOnly && !n.InUse {
		s.nackCandidate(t, n, now)
	}
	return r
}

// record finds or makes the record of a name. That of a name which is already removed is not kept: nobody needs it.
func (s *State) record(t *table, name string) *nacks {
	if t == nil {
		return &nacks{}
	}
	record := t.nacks[name]
	if record == nil {
		record = &nacks{}
		if t.entries[name] != nil {
			t.nacks[name] = record
		}
	}
	return record
}

// Withdraw ends a client's rejection of a name. When no other client NACKs the name, the state retries what was rolled back.
func (s *State) Withdraw(key Key, name string, r Rejection, neverAcked bool, now time.Time) {
	s.noteRejections()
	r.record.count(neverAcked, -1)
	t := s.tables[key]
	if r.record.clients > 0 || t == nil || t.nacks[name] != r.record {
		return
	}
	s.dropNacks(t, name)
	s.clearNacked(t, name)
	if t.candidates[name].rolledBack() {
		s.retry(t, name, now)
	}
}

// FirstAck says of a rejection that its client, which had acknowledged nothing so far, has acknowledged a resource.
func (s *State) FirstAck(r Rejection) {
	r.record.neverAcked--
	s.noteRejections()
}

// dropNacks forgets all NACKs of a name.
func (s *State) dropNacks(t *table, name string) {
	if t.nacks[name] != nil {
		delete(t.nacks, name)
		s.noteRejections()
	}
}

// Resolves is whether a client that has the content now no longer rejects the name. It still does if it only fell back to content
// that it had before, or to the last good content, while the newest is something else.
func (s *State) Resolves(key Key, e *Entry, fellBack bool) bool {
	t := s.tables[key]
	if t == nil {
		return true
	}
	if newest := t.newest(e.Name); newest == nil || Same(newest, e) {
		return true
	}
	isLastGood := t.candidates[e.Name].rolledBack() && Same(t.entries[e.Name], e)
	return !fellBack && !isLastGood
}

// noteRejections records that Rejections has changed.
func (s *State) noteRejections() {
	s.rejectionChanges++
	s.effects.Notify = true
}

// RejectionChanges counts the changes of Rejections.
func (s *State) RejectionChanges() uint64 { return s.rejectionChanges }

// Rejections is what clients NACK now: the first 1,000 in the order of role, type and name.
func (s *State) Rejections() []resource.Rejection {
	var found []resource.Rejection
	for key, t := range s.tables {
		for name, n := range t.nacks {
			found = append(found, resource.Rejection{
				Role: key.Role, Type: key.Type, Name: name, Version: n.version, Text: n.text, Client: n.client,
				Clients: n.clients, NeverAcked: n.neverAcked, RolledBack: t.candidates[name].rolledBack(),
			})
		}
	}
	slices.SortFunc(found, func(a, b resource.Rejection) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return found[:min(len(found), maxRejections)]
}
