package chaos

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// kind is a kind of operation.
type kind string

const (
	create   kind = "create"
	remove   kind = "delete"
	rename   kind = "rename" // replaces a Service by one of another name
	weigh    kind = "weight"
	tag      kind = "tag"   // adds, moves or removes one
	retag    kind = "retag" // renames one
	revise   kind = "revision"
	fail     kind = "broken revision" // followed by one that works
	sleep    kind = "sleep"           // no requests for so long, or until there are no replicas; then requests again
	overload kind = "overload"        // many slow requests at once
	cut      kind = "cut stream"
	keepAway kind = "keep away" // cuts streams, and allows none for a while
	refuse   kind = "NACK"      // connects a client that NACKs
	restart  kind = "restart"   // by SIGTERM
	kill     kind = "kill"      // by SIGKILL, and a start
)

// odds are how often each kind is drawn. Operations that take seconds are rare.
var odds = []odd{
	{create, 60}, {remove, 50}, {rename, 30}, {weigh, 250}, {tag, 130}, {retag, 70}, {revise, 170}, {fail, 25}, {sleep, 40}, {overload, 60},
	{cut, 60}, {keepAway, 8}, {refuse, 12}, {restart, 5}, {kill, 5},
}

// odd is how often a kind is drawn.
type odd struct {
	kind   kind
	weight int
}

// isOfServices says whether an operation changes one Service, or two.
func (k kind) isOfServices() bool {
	switch k {
	case create, remove, rename, weigh, tag, retag, revise, fail, sleep, overload:
		return true
	}
	return false
}

// How many Services there are, and how many of the newest revisions traffic may go to.
const (
	fewest, most = 4, 10
	recent       = 4
	settling     = 12 // operations that a Service is left alone for after one that takes seconds
)

// op is one operation. It is immutable.
type op struct {
	number        int
	kind          kind
	service       string
	before, after *service // of the Service, nil where there is none
	broken        *service // between the two, for fail
	ms            int      // how long, in milliseconds
	count         int      // how many requests, for overload
	target        int      // which client, for cut and keepAway: 0 the gateway, 1 and 2 the activators, 3 all
	seed          uint64   // of what the operation itself draws
	untilZero     bool     // for sleep
	first         bool     // for rename: the new one is made before the old one is deleted
}

func (o op) String() string {
	s := fmt.Sprintf("%d %s", o.number, o.kind)
	if o.service != "" {
		s += " " + o.service
	}
	if o.after != nil {
		s += " " + o.after.String()
	}
	return fmt.Sprintf("%s (ms %d, count %d, target %d, until zero %t, first %t)", s, o.ms, o.count, o.target, o.untilZero, o.first)
}

// service is the desired state of a Service.
type service struct {
	Name        string
	Named       bool   // its revisions have names of their own
	HTTP2       bool   // it speaks h2c
	Burst       string // target-burst-capacity; empty for the default
	Concurrency int64
	Asleep      bool // it starts without replicas
	Broken      bool // its template cannot run
	Templates   int  // how many it has had
	Mark        int  // of its template
	Revisions   []revision
	Traffic     []target
}

// revision is one that can answer.
type revision struct {
	Name string
	Mark int
}

// target is a share of the requests. No revision means the latest.
type target struct {
	Tag, Revision string
	Percent       int
}

func (s *service) String() string {
	return fmt.Sprintf("%s mark %d named %t h2c %t burst %q concurrency %d traffic %+v",
		s.Name, s.Mark, s.Named, s.HTTP2, s.Burst, s.Concurrency, s.Traffic)
}

func (s *service) clone() *service {
	c := *s
	c.Revisions, c.Traffic = slices.Clone(s.Revisions), slices.Clone(s.Traffic)
	return &c
}

// latest is the newest revision that can answer.
func (s *service) latest() revision { return s.Revisions[len(s.Revisions)-1] }

// mark is what a target answers.
func (s *service) mark(t target) int {
	for _, r := range s.Revisions {
		if r.Name == t.Revision {
			return r.Mark
		}
	}
	return s.latest().Mark
}

// hosts are the Service's hosts and, for each, the marks that may answer.
func (s *service) hosts() map[string][]int {
	all := map[string][]int{}
	if s == nil {
		return all
	}
	for _, t := range s.Traffic {
		if t.Percent > 0 {
			all[s.Name+"."+namespace+"."+domain] = append(all[s.Name+"."+namespace+"."+domain], s.mark(t))
		}
		if t.Tag != "" {
			all[t.Tag+"-"+s.Name+"."+namespace+"."+domain] = []int{s.mark(t)}
		}
	}
	return all
}

// template gives the Service a new template, whose revision can answer unless it is broken.
func (s *service) template(mark int, broken bool) {
	s.Templates++
	s.Mark, s.Broken = mark, broken
	if !broken {
		s.Revisions = append(s.Revisions, revision{Name: s.revisionName(), Mark: mark})
	}
}

// revisionName is the name of the revision of the newest template.
func (s *service) revisionName() string {
	if s.Named {
		return fmt.Sprintf("%s-r%d", s.Name, s.Mark)
	}
	return fmt.Sprintf("%s-%05d", s.Name, s.Templates)
}

// plan draws operations. Its state assumes that every operation so far has been carried out.
type plan struct {
	odds         []odd
	fewest, most int // Services
	random       *rand.Rand
	number       int
	mark         int
	services     []*service     // sorted by name
	resting      map[string]int // until which operation a Service is left alone
}

func newPlan(seed uint64) *plan {
	return &plan{odds: odds, fewest: fewest, most: most, random: rand.New(rand.NewPCG(seed, 1)), resting: map[string]int{}}
}

// next draws an operation. The first ones create.
func (p *plan) next() op {
	p.number++
	for {
		o := op{number: p.number, kind: p.draw(), ms: p.random.IntN(1000), seed: p.random.Uint64()}
		if p.fill(&o) {
			return o
		}
	}
}

func (p *plan) draw() kind {
	if len(p.services) < p.fewest {
		return create
	}
	sum := 0
	for _, o := range p.odds {
		sum += o.weight
	}
	n := p.random.IntN(sum)
	for _, o := range p.odds {
		if n -= o.weight; n < 0 {
			return o.kind
		}
	}
	panic("unreachable")
}

// fill draws the rest of an operation. It returns false if there is no Service for it.
func (p *plan) fill(o *op) bool {
	if !o.kind.isOfServices() {
		o.target = p.random.IntN(4)
		o.ms = 300 + 3*o.ms
		return true
	}
	if o.kind == create {
		if len(p.services) >= p.most {
			return false
		}
		o.after = p.fresh()
		o.service = o.after.Name
		return true
	}
	i, ok := p.pick()
	if !ok || o.kind == remove && len(p.services) <= p.fewest {
		return false
	}
	o.before = p.services[i]
	o.service = o.before.Name
	switch o.kind {
	case remove:
		p.drop(i)
		return true
	case rename:
		o.after, o.first = p.renamed(o.before), p.random.IntN(2) == 0
		p.drop(slices.Index(p.services, o.before))
		return true
	case sleep, overload:
		o.untilZero, o.count = p.random.IntN(2) == 0, 5+p.random.IntN(40)
		if o.kind == sleep {
			p.resting[o.service] = p.number + 5*settling
			o.ms = 6000 + 3*o.ms
		}
		return true
	}
	o.after = o.before.clone()
	if !p.change(o) {
		return false
	}
	p.services[i] = o.after
	return true
}

// change draws a change of a Service's spec.
func (p *plan) change(o *op) bool {
	switch o.kind {
	case weigh:
		p.reweigh(o.after)
	case tag:
		p.retarget(o.after)
	case retag:
		tagged := o.after.tagged()
		if len(tagged) == 0 {
			return false
		}
		t := &o.after.Traffic[tagged[p.random.IntN(len(tagged))]]
		t.Tag = p.freeTag(o.after)
	case revise, fail:
		if o.kind == fail {
			o.broken = o.before.clone()
			o.broken.template(p.nextMark(), true)
			o.after.Templates = o.broken.Templates
			p.resting[o.service] = p.number + settling
		}
		if p.random.IntN(3) == 0 {
			o.after.Concurrency = p.concurrency(o.after.Burst)
		}
		o.after.template(p.nextMark(), false)
	}
	return true
}

func (p *plan) nextMark() int { p.mark++; return p.mark }

// concurrency draws a limit of requests per replica. A replica without an activator queues ten times as many requests and rightly refuses
// the rest. So a Service without activators gets no small limit.
func (p *plan) concurrency(burst string) int64 {
	if burst == "0" {
		return []int64{0, 100}[p.random.IntN(2)]
	}
	return []int64{0, 0, 0, 1, 2, 10}[p.random.IntN(6)]
}

// pick returns the index of a Service that is not resting.
func (p *plan) pick() (int, bool) {
	var ready []int
	for i, s := range p.services {
		if p.resting[s.Name] < p.number {
			ready = append(ready, i)
		}
	}
	if len(ready) == 0 {
		return 0, false
	}
	return ready[p.random.IntN(len(ready))], true
}

// fresh returns a new Service. It may have the name of a deleted one.
func (p *plan) fresh() *service {
	s := &service{
		Name: p.freeName(), Named: p.random.IntN(2) == 0, HTTP2: p.random.IntN(4) == 0, Burst: []string{"", "0", "-1"}[p.random.IntN(3)],
		Asleep: p.random.IntN(4) == 0, Traffic: []target{{Percent: 100}},
	}
	s.Concurrency = p.concurrency(s.Burst)
	s.template(p.nextMark(), false)
	p.add(s)
	return s
}

func (p *plan) freeName() string {
	for {
		name := fmt.Sprintf("s%d", p.random.IntN(3*p.most))
		if !slices.ContainsFunc(p.services, func(s *service) bool { return s.Name == name }) {
			return name
		}
	}
}

// renamed returns a Service like another, with another name and only the newest revision.
func (p *plan) renamed(old *service) *service {
	s := old.clone()
	s.Name, s.Revisions, s.Templates, s.Traffic = p.freeName(), nil, 0, []target{{Percent: 100}}
	s.template(p.nextMark(), false)
	p.add(s)
	return s
}

func (p *plan) add(s *service) {
	p.services = append(p.services, s)
	slices.SortFunc(p.services, func(a, b *service) int { return strings.Compare(a.Name, b.Name) })
}

func (p *plan) drop(i int) {
	p.services = slices.Delete(slices.Clone(p.services), i, i+1)
}

// someRevision returns the name of one of the newest revisions, or nothing for the latest.
func (p *plan) someRevision(s *service) string {
	n := min(recent, len(s.Revisions))
	if i := p.random.IntN(n + 2); i < n {
		return s.Revisions[len(s.Revisions)-1-i].Name
	}
	return ""
}

// reweigh draws a new split between revisions without a tag, and sometimes the tagged ones.
func (p *plan) reweigh(s *service) {
	var split []target
	for range 1 + p.random.IntN(3) {
		split = append(split, target{Revision: p.someRevision(s)})
	}
	for _, i := range s.tagged() {
		t := s.Traffic[i]
		t.Percent = 0
		split = append(split, t)
	}
	left := 100
	for i := range split {
		if split[i].Tag != "" && p.random.IntN(3) > 0 {
			continue
		}
		share := p.random.IntN(left + 1)
		split[i].Percent = share
		left -= share
	}
	split[0].Percent += left
	s.Traffic = slices.DeleteFunc(split, func(t target) bool { return t.Tag == "" && t.Percent == 0 })
}

// tagged returns the indexes of the targets with a tag.
func (s *service) tagged() []int {
	var all []int
	for i, t := range s.Traffic {
		if t.Tag != "" {
			all = append(all, i)
		}
	}
	return all
}

func (p *plan) freeTag(s *service) string {
	for {
		name := fmt.Sprintf("t%d", p.random.IntN(8))
		if !slices.ContainsFunc(s.Traffic, func(t target) bool { return t.Tag == name }) {
			return name
		}
	}
}

// retarget adds, moves or removes a tag.
func (p *plan) retarget(s *service) {
	tagged := s.tagged()
	if len(tagged) == 0 || len(tagged) < 3 && p.random.IntN(2) == 0 {
		s.Traffic = append(s.Traffic, target{Tag: p.freeTag(s), Revision: p.someRevision(s)})
		return
	}
	i := tagged[p.random.IntN(len(tagged))]
	t := &s.Traffic[i]
	switch {
	case p.random.IntN(2) == 0:
		t.Revision = p.someRevision(s)
	case t.Percent == 0:
		s.Traffic = slices.Delete(s.Traffic, i, i+1)
	default:
		t.Tag = "" // its share stays
	}
}

func TestSameSeedSameOperations(t *testing.T) {
	draw := func(seed uint64) []op {
		p := newPlan(seed)
		var all []op
		for range 5000 {
			all = append(all, p.next())
		}
		return all
	}
	first := draw(1)
	if !reflect.DeepEqual(first, draw(1)) {
		t.Error("the same seed gave other operations")
	}
	if reflect.DeepEqual(first, draw(2)) {
		t.Error("another seed gave the same operations")
	}
	drawn := map[kind]int{}
	for _, o := range first {
		drawn[o.kind]++
	}
	for _, o := range odds {
		if drawn[o.kind] == 0 {
			t.Errorf("in %d operations there is no %s", len(first), o.kind)
		}
	}
}

func TestPlannedServicesAreValid(t *testing.T) {
	p := newPlan(3)
	for range 5000 {
		o := p.next()
		if o.after == nil {
			continue
		}
		sum, tags := 0, map[string]bool{}
		for _, x := range o.after.Traffic {
			sum += x.Percent
			if x.Tag != "" && tags[x.Tag] {
				t.Fatalf("%s has a tag twice", o)
			}
			tags[x.Tag] = true
			if x.Revision != "" && !slices.ContainsFunc(o.after.Revisions, func(r revision) bool { return r.Name == x.Revision }) {
				t.Fatalf("%s names a revision that does not exist", o)
			}
		}
		if sum != 100 || len(p.services) > most {
			t.Fatalf("%s: the shares sum to %d, there are %d services", o, sum, len(p.services))
		}
	}
}
