package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/relay"
)

// atOnce is how many operations of different Services may run in parallel. Those of one Service run one after the other, and so do
// those of the control plane.
const atOnce = 12

// plane is the lane of operations that affect all Services.
const plane = "\x00plane"

// performer carries operations out. Operations in the same lane run one after the other.
type performer struct {
	system system
	hosts  *hosts
	load   *load
	stop   chan struct{} // closed when the run has failed
	fail   func(error)

	beacon  bool                     // whether the Service beacon has its tag; only the plane's lane touches it
	lanes   map[string]chan struct{} // closed at the end of the last operation of each; only start touches it
	slots   chan struct{}
	running sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	log     []done
	refused int64
}

// system is what the operations change: one machine, or a cluster.
type system interface {
	client() client.Client
	// disturb carries out an operation on everything, and returns when all parts work again.
	disturb(p *performer, o op) error
	// sizes measures the processes, and peaked returns the largest of each so far.
	sizes() map[string]float64
	peaked() map[string]float64
	// tails returns the ends of the logs.
	tails(lines int) string
}

// done is an operation and its time.
type done struct {
	op           op
	began, ended time.Time // ended is zero while it runs
}

func (d done) String() string {
	took := "still running"
	if !d.ended.IsZero() {
		took = "took " + d.ended.Sub(d.began).Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%s %s: %s", d.began.Format(clock), took, d.op)
}

// start runs an operation when those before it in its lanes have ended. It blocks while too many run.
func (p *performer) start(o op) {
	select {
	case p.slots <- struct{}{}:
	case <-p.stop:
		return
	}
	lanes := []string{o.service}
	switch {
	case o.service == "":
		lanes[0] = plane
	case o.kind == rename:
		lanes = append(lanes, o.after.Name)
	}
	var before []chan struct{}
	end := make(chan struct{})
	for _, lane := range lanes {
		if c := p.lanes[lane]; c != nil {
			before = append(before, c)
		}
		p.lanes[lane] = end
	}
	p.running.Go(func() {
		defer func() { close(end); <-p.slots }()
		for _, c := range before {
			<-c
		}
		select {
		case <-p.stop:
			return
		default:
		}
		p.one(o)
	})
}

func (p *performer) one(o op) {
	p.mu.Lock()
	at := len(p.log)
	p.log = append(p.log, done{op: o, began: time.Now()})
	p.mu.Unlock()
	logLine("begun", o.String())
	err := p.perform(o)
	logLine("ended", o.String())
	p.mu.Lock()
	p.log[at].ended = time.Now()
	p.mu.Unlock()
	if err != nil {
		p.fail(fmt.Errorf("operation %s: %w", o, err))
	}
}

// recent returns the last operations that had begun before a moment, and those that were still running then.
func (p *performer) recent(n int, before time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, d := range slices.Backward(p.log) {
		if d.began.After(before) {
			continue
		}
		if n--; n >= 0 || d.ended.IsZero() {
			all = append(all, d.String())
		}
	}
	slices.Reverse(all)
	return strings.Join(all, "\n")
}

// longest describes how long operations of each kind took.
func (p *performer) longest() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := map[kind][]time.Duration{}
	for _, d := range p.log {
		if !d.ended.IsZero() {
			taken[d.op.kind] = append(taken[d.op.kind], d.ended.Sub(d.began))
		}
	}
	var all []string
	for _, k := range slices.Sorted(maps.Keys(taken)) {
		t := taken[k]
		slices.Sort(t)
		all = append(all, fmt.Sprintf("%s %d (%v, at most %v)", k, len(t), t[len(t)/2].Round(time.Millisecond),
			t[len(t)-1].Round(time.Millisecond)))
	}
	return strings.Join(all, ", ")
}

func (p *performer) perform(o op) error {
	switch o.kind {
	case create:
		return p.create(o.after)
	case remove:
		return p.remove(o.before)
	case rename:
		if o.first {
			return errors.Join(p.create(o.after), p.remove(o.before))
		}
		return errors.Join(p.remove(o.before), p.create(o.after))
	case weigh, tag, retag, revise:
		return p.change(o.before, o.after)
	case fail:
		return p.breakAndRepair(o)
	case sleep:
		return p.sleep(o)
	case overload:
		p.overload(o)
		return nil
	}
	return p.system.disturb(p, o)
}

func (p *performer) create(s *service) error {
	p.hosts.allow(s)
	if err := p.put(s); err != nil {
		return err
	}
	p.hosts.settle(s)
	return nil
}

func (p *performer) remove(s *service) error {
	names := namesOf(s)
	if err := p.hosts.rest(names); err != nil {
		return err
	}
	object := &servingv1.Service{}
	object.Namespace, object.Name = namespace, s.Name
	err := p.again("deleting "+s.Name, func(ctx context.Context) error {
		if err := p.system.client().Delete(ctx, object); !apierrors.IsNotFound(err) {
			return errors.Join(err, errNotYet)
		}
		// An API server that has just started answers that for all objects, since it does not know their kind yet.
		var there servingv1.ServiceList
		if err := p.system.client().List(ctx, &there); err != nil {
			return err
		}
		if slices.ContainsFunc(there.Items, func(o servingv1.Service) bool { return o.Name == s.Name }) {
			return errNotYet
		}
		return nil
	})
	p.hosts.forget(names)
	return err
}

// change updates a Service. Hosts that it loses rest first.
func (p *performer) change(before, after *service) error {
	hosts := after.hosts()
	var gone []string
	for _, name := range namesOf(before) {
		if _, stays := hosts[name]; !stays {
			gone = append(gone, name)
		}
	}
	if err := p.hosts.rest(gone); err != nil {
		return err
	}
	p.hosts.allow(after)
	if err := p.put(after); err != nil {
		return err
	}
	p.hosts.settle(after)
	p.hosts.forget(gone)
	return nil
}

// breakAndRepair makes a revision that cannot run, which must not get requests, and then one that can.
func (p *performer) breakAndRepair(o op) error {
	if err := p.apply(o.broken); err != nil {
		return err
	}
	err := p.again("waiting for the broken revision's condition", func(ctx context.Context) error {
		object, err := p.get(ctx, o.service)
		if err != nil {
			return err
		}
		c := object.Status.Condition(servingv1.ConditionConfigurationsReady)
		if object.Status.ObservedGeneration != object.Generation || c == nil || c.Status != "False" {
			return fmt.Errorf("%w: condition %+v", errNotYet, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(o.ms) * time.Millisecond / 4)
	return p.change(o.before, o.after)
}

// sleep sends a Service no requests for some time, or until it has no replicas, and then requests again.
func (p *performer) sleep(o op) error {
	if err := p.hosts.rest(namesOf(o.before)); err != nil {
		return err
	}
	defer p.hosts.settle(o.before)
	if !o.untilZero {
		time.Sleep(time.Duration(o.ms) * time.Millisecond)
		return nil
	}
	return p.again(o.service+" falls asleep", func(ctx context.Context) error {
		for _, t := range o.before.Traffic {
			name := t.Revision
			if name == "" {
				name = o.before.latest().Name
			}
			revision := &servingv1.Revision{}
			if err := p.system.client().Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, revision); err != nil {
				return err
			}
			if n := revision.Status.ActualReplicas; n == nil || *n > 0 {
				time.Sleep(100 * time.Millisecond)
				return fmt.Errorf("%w: %s has replicas", errNotYet, name)
			}
		}
		return nil
	})
}

func (p *performer) overload(o op) {
	random := rand.New(rand.NewPCG(o.seed, 5))
	names := namesOf(o.before)
	for range o.count {
		if h := p.hosts.at(names[random.IntN(len(names))]); h != nil {
			ms := random.IntN(300)
			p.load.running.Go(func() { p.load.slow(h, ms) })
		}
	}
}

// disturb runs an operation on the control plane.
func (h *installation) disturb(p *performer, o op) error {
	wait := time.Duration(o.ms) * time.Millisecond
	relays := h.relays
	if o.target < len(relays) {
		relays = relays[o.target : o.target+1]
	}
	switch o.kind {
	case cut:
		cutAll(relays, time.Duration(o.ms%30)*time.Millisecond)
	case keepAway:
		cutAll(relays, wait)
	case refuse:
		_, refused := beHostile(h.xds, o.seed, o.number, wait)
		p.mu.Lock()
		p.refused += refused
		p.mu.Unlock()
	case restart:
		if err := h.endPlane(syscall.SIGTERM); err != nil {
			return err
		}
		time.Sleep(wait / 4)
		return h.back(p)
	case kill:
		err := p.hosts.pause()
		if err == nil {
			err = h.endPlane(syscall.SIGKILL)
		}
		p.hosts.resume()
		if err != nil {
			return err
		}
		time.Sleep(wait / 4)
		return h.back(p)
	}
	return h.connected(p)
}

func cutAll(relays []*relay.Relay, wait time.Duration) {
	for _, r := range relays {
		r.Cut()
	}
	time.Sleep(wait)
	for _, r := range relays {
		r.Restore()
	}
}

// back starts the control plane again.
func (h *installation) back(p *performer) error {
	if err := h.startPlane(); err != nil {
		return err
	}
	return h.connected(p)
}

// connected waits until every client is connected again and the gateway acknowledges changes: the Service of light becomes ready only
// with the gateway's acknowledgement, since there is no other gateway at that time.
func (h *installation) connected(p *performer) error {
	var all []error
	for _, r := range h.relays {
		all = append(all, reconnected(r))
	}
	return errors.Join(append(all, p.light())...)
}

// light changes the Service beacon, which gets no requests, and waits until the change is in force.
func (p *performer) light() error {
	p.beacon = !p.beacon
	s := &service{Name: "beacon", Asleep: true, Traffic: []target{{Percent: 100}}}
	if p.beacon {
		s.Traffic = append(s.Traffic, target{Tag: "lit"})
	}
	return p.put(s)
}

// Where the Services are, and what they run. A run in a cluster sets others.
var (
	namespace = "default"
	domain    = "localhost"
	image     = "chaos.local/app"
	command   = func() string { return filepath.Join(built, "app") }
)

func namesOf(s *service) []string {
	var names []string
	for name := range s.hosts() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// object returns the API object of a Service.
func (s *service) object() *servingv1.Service {
	o := &servingv1.Service{}
	o.Namespace, o.Name = namespace, s.Name
	template := &o.Spec.Template
	if s.Named {
		template.Metadata.Name = s.revisionName()
	}
	template.Metadata.Annotations = map[string]string{}
	if s.Burst != "" {
		template.Metadata.Annotations["autoscaling.knative.dev/target-burst-capacity"] = s.Burst
	}
	if s.Asleep && !s.Broken { // a broken revision must start a replica, or it would never fail
		template.Metadata.Annotations["autoscaling.knative.dev/initial-scale"] = "0"
	}
	program := command()
	if s.Broken {
		program = "/nowhere"
	}
	container := servingv1.Container{
		Image: image, Command: []string{program}, Env: []servingv1.EnvVar{{Name: "MARK", Value: strconv.Itoa(s.Mark)}},
	}
	if s.HTTP2 {
		container.Ports = []servingv1.ContainerPort{{Name: "h2c", ContainerPort: 8080}}
	}
	template.Spec.Containers = []servingv1.Container{container}
	template.Spec.ContainerConcurrency = new(s.Concurrency)
	for _, t := range s.Traffic {
		x := servingv1.TrafficTarget{Tag: t.Tag, RevisionName: t.Revision, Percent: new(int64(t.Percent))}
		x.LatestRevision = new(t.Revision == "")
		o.Spec.Traffic = append(o.Spec.Traffic, x)
	}
	return o
}

// put creates or updates a Service and waits until it is ready.
func (p *performer) put(s *service) error {
	if err := p.apply(s); err != nil {
		return err
	}
	return p.again(s.Name+" is ready", func(ctx context.Context) error {
		object, err := p.get(ctx, s.Name)
		if err != nil {
			return err
		}
		c := object.Status.Condition(servingv1.ConditionReady)
		if object.Status.ObservedGeneration != object.Generation || c == nil || c.Status != "True" {
			return fmt.Errorf("%w: generation %d, status %+v", errNotYet, object.Generation, object.Status)
		}
		return nil
	})
}

func (p *performer) get(ctx context.Context, name string) (*servingv1.Service, error) {
	object := &servingv1.Service{}
	return object, p.system.client().Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, object)
}

// apply writes a Service.
func (p *performer) apply(s *service) error {
	want := s.object()
	return p.again("applying "+s.Name, func(ctx context.Context) error {
		object, err := p.get(ctx, s.Name)
		switch {
		case apierrors.IsNotFound(err):
			return p.system.client().Create(ctx, want.DeepCopy())
		case err != nil:
			return err
		}
		object.Spec = *want.Spec.DeepCopy()
		return p.system.client().Update(ctx, object)
	})
}

var errNotYet = errors.New("not yet")

// stuck is after how long an operation counts as failed. A restart may take some seconds of it.
var stuck = 90 * time.Second

// again tries until there is no error: the API may be down, and effects take time.
func (p *performer) again(what string, try func(context.Context) error) error {
	var err error
	pause := 10 * time.Millisecond
	for began := time.Now(); time.Since(began) < stuck; time.Sleep(pause) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = try(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			break
		}
		select {
		case <-p.stop:
			return nil // the run has failed already
		default:
		}
		pause = min(pause+5*time.Millisecond, 100*time.Millisecond)
	}
	return fmt.Errorf("%s: %w", what, err)
}
