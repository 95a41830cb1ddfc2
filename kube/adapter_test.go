package kube_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/autoscaler/schedule"
	"sluice.dev/sluice/autoscaler/scrape"
	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	networkingv1alpha1 "sluice.dev/sluice/crds/networking/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/kube/images"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
	"sluice.dev/sluice/standalone/apiserver"
)

// bench is an adapter on a real API server, with a runtime that reports every revision ready unless configured
// otherwise, and a data plane that acknowledges every World.
type bench struct {
	client.Client
	t       *testing.T
	config  *rest.Config
	adapter *kube.Adapter
	scale   *loop.Loop

	mu      sync.Mutex
	worlds  []*model.World
	running map[model.Key]model.Workload
	failing map[string]*model.Failure // by revision name
	mute    map[string]bool           // revisions that never report

	retention *rollout.Retention
	asked     map[string][]int // replicas to run, one after the other, by revision name
	reports   chan model.WorkloadStatus
	scaling   autoscaler.Config
	silent    bool                                             // the data plane acknowledges nothing
	put       func(context.Context, client.Object, bool) error // nil: all is written over the API
	patience  time.Duration                                    // of statuses; 0 means the usual one
	urls      []string                                         // of Services, as they became ready
	busy      time.Duration                                    // that each decision takes
	waited    []string                                         // what the first World was said to wait for
	adjust    func(*kube.Options)                              // changes the options of the adapter; may be nil
	digests   images.Digests
	feature   func(string) bool
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := newBenchWithoutAdapter(t)
	t.Cleanup(b.startAdapter())
	return b
}

// newBenchWithoutAdapter is a bench with an API server of its own, beside those of other tests.
func newBenchWithoutAdapter(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	api, err := apiserver.Start(ctx, apiserver.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := api.Wait(); err != nil {
			t.Errorf("API server: %v", err)
		}
	})
	b := newBenchOn(t, api.Config())
	b.put = func(ctx context.Context, o client.Object, whole bool) error { return api.Put(ctx, o, whole) }
	return b
}

// newBenchOn is a bench on any API server with our kinds.
func newBenchOn(t *testing.T, config *rest.Config) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		servingv1.AddToScheme, servingv1beta1.AddToScheme, networkingv1alpha1.AddToScheme,
		autoscalingv1alpha1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		Client: c, t: t, config: config,
		running: map[model.Key]model.Workload{}, failing: map[string]*model.Failure{}, mute: map[string]bool{},
		asked: map[string][]int{}, reports: make(chan model.WorkloadStatus, 10_000),
	}
}

// startAdapter starts an adapter, as a restarted process would, and returns how to stop it.
func (b *bench) startAdapter() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	b.scale = loop.New(loop.Options{
		Decided: func(revision model.Key, uid string, d model.Decision) {
			time.Sleep(b.busy)
			b.adapter.Scale(revision, uid, d)
		},
		Scrape: idle, Config: b.scaling,
	})
	options := kube.Options{
		Config: b.config, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: b.t.Output()}),
		Gateway: model.Gateway{HTTP: "127.0.0.1:8080"}, Settings: b.settings(),
		Worlds: b.world, Run: b.run, Ready: b.ready, CollectGarbage: true, Waiting: b.waits,
		Put: b.put, Patience: b.patience, Digests: b.digests, Feature: b.feature,
		Scale: kube.Scaling{
			Set: b.scale.Set, Remove: b.scale.Remove, Running: b.scale.Running, Backed: b.scale.Backed,
			Check: func(annotations map[string]string) error {
				config := autoscaler.DefaultConfig()
				return autoscaler.Validate(&config, annotations)
			},
			Schedule: func(s *model.Schedule, now time.Time) (model.ScheduleState, error) {
				compiled, err := schedule.Compile(s)
				if err != nil || now.IsZero() {
					return model.ScheduleState{}, err
				}
				return compiled.State(now), nil
			},
		},
	}
	if b.adjust != nil {
		b.adjust(&options)
	}
	adapter, err := kube.New(options)
	if err != nil {
		b.t.Fatal(err)
	}
	b.adapter = adapter
	adapter.Activators([]model.Endpoint{{Host: "127.0.0.1", Port: 8012}})
	done := make(chan error, 1)
	scaled := make(chan struct{})
	go func() { done <- adapter.Run(ctx) }()
	go func() { // a runtime reports from a goroutine of its own
		for {
			select {
			case s := <-b.reports:
				adapter.Observe(s)
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer close(scaled)
		b.scale.Run(ctx)
	}()
	return func() {
		cancel()
		<-scaled
		if err := <-done; err != nil {
			b.t.Errorf("adapter: %v", err)
		}
	}
}

func (b *bench) settings() kube.Settings {
	return kube.Settings{Rollout: rollout.Options{Domain: "localhost", Port: 8080, Retention: b.retention}}
}

func (b *bench) world(w *model.World) {
	b.mu.Lock()
	b.worlds = append(b.worlds, w)
	silent := b.silent
	b.mu.Unlock()
	if !silent {
		b.adapter.Programmed(w.Generation)
		b.adapter.Reached(w.Generation)
	}
}

// idle tells of no load at all.
func idle(_ context.Context, targets []scrape.Target, each func(scrape.Result)) {
	for _, t := range targets {
		each(scrape.Result{Revision: t.Revision, UID: t.UID, OK: true})
	}
}

func (b *bench) ready(_ model.Key, url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.urls = append(b.urls, url)
}

func (b *bench) waits(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waited = append(b.waited, what)
}

func (b *bench) announced() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprint(b.urls)
}

func (b *bench) run(w model.Workload) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[w.Revision.Name] = append(b.asked[w.Revision.Name], w.Replicas)
	if w.Replicas == 0 {
		delete(b.running, w.Revision)
	} else {
		b.running[w.Revision] = w
	}
	if w.UID == "" || b.mute[w.Revision.Name] {
		return
	}
	status := model.WorkloadStatus{Revision: w.Revision, UID: w.UID, Running: w.Replicas}
	if w.Replicas > 0 {
		status.Failure = b.failing[w.Revision.Name]
	}
	for i := range w.Replicas {
		if status.Failure == nil {
			status.Ready = append(status.Ready, model.Endpoint{Host: "127.0.0.1", Port: 9000 + i})
			status.Metrics = append(status.Metrics, model.Scrape{URL: fmt.Sprintf("http://127.0.0.1:%d/metrics", 9000+i)})
		}
	}
	b.reports <- status
}

func (b *bench) newest() *model.World {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.worlds) == 0 {
		return &model.World{}
	}
	return b.worlds[len(b.worlds)-1]
}

// patience bounds how long a test waits for what must come, on a machine that does other things too.
const patience = 2 * time.Minute

// eventually waits for a condition that the controllers bring about.
func (b *bench) eventually(what string, holds func() (bool, string)) {
	b.t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		ok, have := holds()
		if ok {
			return
		}
		last = have
	}
	b.t.Fatalf("%s: not within %v; at the end: %s", what, patience, last)
}

func (b *bench) service(name string) *servingv1.Service {
	s := &servingv1.Service{}
	if err := b.Get(b.t.Context(), types.NamespacedName{Namespace: "default", Name: name}, s); err != nil && !apierrors.IsNotFound(err) {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) eventuallyReady(name string) *servingv1.Service {
	b.t.Helper()
	var s *servingv1.Service
	b.eventually(name+" is ready", func() (bool, string) {
		s = b.service(name)
		c := s.Status.Condition("Ready")
		return c != nil && c.Status == "True" && s.Status.ObservedGeneration == s.Generation,
			fmt.Sprintf("generation %d, status %+v", s.Generation, s.Status)
	})
	return s
}

// split is what the newest World serves for a service: percent by revision.
func (b *bench) split(name string) map[string]int {
	for _, r := range b.newest().Routes {
		if r.Key.Name == name && len(r.Rules) > 0 {
			shares := map[string]int{}
			for _, s := range r.Rules[0].Shares {
				shares[s.Revision.Name] = s.Percent
			}
			return shares
		}
	}
	return nil
}

func (b *bench) eventuallySplit(name string, want map[string]int) {
	b.t.Helper()
	b.eventually("the split of "+name, func() (bool, string) {
		got := b.split(name)
		return cmp.Equal(got, want), fmt.Sprintf("%v, want %v", got, want)
	})
}

func newService(name, target string) *servingv1.Service {
	return &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: servingv1.ServiceSpec{ConfigurationSpec: servingv1.ConfigurationSpec{Template: servingv1.RevisionTemplate{
			Spec: servingv1.RevisionSpec{PodSpec: servingv1.PodSpec{Containers: []servingv1.Container{{
				Image: "sluice.local/sample", Command: []string{"sluice", "sample"},
				Env: []servingv1.EnvVar{{Name: "TARGET", Value: target}},
			}}}},
		}}},
	}
}

func (b *bench) change(name string, change func(*servingv1.Service)) {
	b.t.Helper()
	for {
		s := b.service(name)
		change(s)
		err := b.Update(b.t.Context(), s)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			b.t.Fatal(err)
		}
	}
}

func traffic(targets ...servingv1.TrafficTarget) func(*servingv1.Service) {
	return func(s *servingv1.Service) { s.Spec.Traffic = targets }
}

func to(revision, tag string, percent int64) servingv1.TrafficTarget {
	return servingv1.TrafficTarget{RevisionName: revision, Tag: tag, Percent: &percent, LatestRevision: new(false)}
}

func TestServiceBecomesReadyAndSaysWhere(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	s := b.eventuallyReady("hello")
	if want := "http://hello.default.localhost:8080"; s.Status.URL != want {
		t.Errorf("URL %q, want %q", s.Status.URL, want)
	}
	if want := "http://hello.default.svc.cluster.local"; s.Status.Address == nil || s.Status.Address.URL != want {
		t.Errorf("address %v, want %q", s.Status.Address, want)
	}
	if s.Status.LatestReadyRevisionName != "hello-00001" || s.Status.LatestCreatedRevisionName != "hello-00001" {
		t.Errorf("latest ready %q, created %q, want hello-00001", s.Status.LatestReadyRevisionName, s.Status.LatestCreatedRevisionName)
	}
	b.eventuallySplit("hello", map[string]int{"hello-00001": 100})
}

func TestControllersComeToRest(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	// Whatever is still on its way arrives; then nothing may write any more.
	var before, after string
	b.eventually("no object changes for half a second", func() (bool, string) {
		before = b.versions()
		time.Sleep(500 * time.Millisecond)
		after = b.versions()
		return before == after, before + " became " + after
	})
}

func (b *bench) versions() string {
	var services servingv1.ServiceList
	var configurations servingv1.ConfigurationList
	var routes servingv1.RouteList
	var revisions servingv1.RevisionList
	for _, list := range []client.ObjectList{&services, &configurations, &routes, &revisions} {
		if err := b.List(b.t.Context(), list); err != nil {
			b.t.Fatal(err)
		}
	}
	var all []string
	for _, o := range services.Items {
		all = append(all, "service "+o.ResourceVersion)
	}
	for _, o := range configurations.Items {
		all = append(all, "configuration "+o.ResourceVersion)
	}
	for _, o := range routes.Items {
		all = append(all, "route "+o.ResourceVersion)
	}
	for _, o := range revisions.Items {
		all = append(all, "revision "+o.ResourceVersion)
	}
	return fmt.Sprint(all)
}

func TestTrafficFollowsTheSpecAndRollsBack(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.change("hello", func(s *servingv1.Service) {
		s.Spec.Template.Spec.Containers[0].Env[0].Value = "two"
		traffic(to("hello-00001", "old", 70), to("hello-00002", "new", 30))(s)
	})
	b.eventuallySplit("hello", map[string]int{"hello-00001": 70, "hello-00002": 30})
	s := b.eventuallyReady("hello")
	if s.Status.Traffic[1].URL != "http://new-hello.default.localhost:8080" {
		t.Errorf("the tag's URL is %q", s.Status.Traffic[1].URL)
	}
	b.change("hello", traffic(to("hello-00001", "", 100)))
	b.eventuallySplit("hello", map[string]int{"hello-00001": 100})
	var revisions servingv1.RevisionList
	if err := b.List(t.Context(), &revisions); err != nil || len(revisions.Items) != 2 {
		t.Errorf("%d revisions, want both kept for a way back", len(revisions.Items))
	}
}

func TestFailingRevisionKeepsTheGoodOneServing(t *testing.T) {
	b := newBench(t)
	b.failing["hello-00002"] = &model.Failure{Reason: "ExitCode1", Message: "Container failed with: no such table"}
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	b.eventually("the failure reaches the Service", func() (bool, string) {
		c := b.service("hello").Status.Condition("ConfigurationsReady")
		return c != nil && c.Status == "False" && c.Reason == "RevisionFailed", fmt.Sprintf("%+v", c)
	})
	if got := b.split("hello"); !cmp.Equal(got, map[string]int{"hello-00001": 100}) {
		t.Errorf("split %v, want all on the good revision", got)
	}
	b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "three" })
	b.eventuallySplit("hello", map[string]int{"hello-00003": 100})
	b.eventuallyReady("hello")
}

// The Route names a Configuration of which nothing changes when its revision recovers.
func TestRouteThatFollowsAFailedRevisionFollowsItsRecovery(t *testing.T) {
	b := newBench(t)
	b.failing["hello-00002"] = &model.Failure{Reason: "ExitCode1", Message: "no such table"}
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	revision, route := &servingv1.Revision{}, &servingv1.Route{}
	eventually := func(what, name string, o client.Object, conditions *servingv1.Status, want metav1.ConditionStatus) {
		t.Helper()
		b.eventually(what, func() (bool, string) {
			if err := b.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: name}, o); err != nil {
				return false, err.Error()
			}
			c := conditions.Condition(servingv1.ConditionReady)
			return c != nil && c.Status == want, fmt.Sprintf("%+v", *conditions)
		})
	}
	eventually("the second is broken", "hello-00002", revision, &revision.Status.Status, "False")
	eventually("the first is well", "hello-00001", revision, &revision.Status.Status, "True")
	said := model.WorkloadStatus{Revision: model.Key{Namespace: "default", Name: "hello-00001"}, UID: string(revision.UID), Running: 1}
	broken := said
	broken.Failure = &model.Failure{Reason: "ExitCode1", Message: "no such disk"}
	b.reports <- broken
	eventually("the first is broken", "hello-00001", revision, &revision.Status.Status, "False")

	route.Namespace, route.Name = "default", "other"
	route.Spec.Traffic = []servingv1.TrafficTarget{{ConfigurationName: "hello", Percent: new(int64(100))}}
	if err := b.Create(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	eventually("the route has nothing to follow", "other", route, &route.Status.Status, "False")
	said.Ready = []model.Endpoint{{Host: "127.0.0.1", Port: 9000}}
	b.reports <- said
	eventually("the first is well again", "hello-00001", revision, &revision.Status.Status, "True")
	eventually("the route follows it", "other", route, &route.Status.Status, "True")
}

func TestOwnedObjectsGoWithTheirOwner(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"hello", "other"} {
		if err := b.Create(t.Context(), newService(name, "one")); err != nil {
			t.Fatal(err)
		}
		b.eventuallyReady(name)
	}
	if err := b.Delete(t.Context(), b.service("hello")); err != nil {
		t.Fatal(err)
	}
	b.eventually("nothing of hello is left", func() (bool, string) {
		b.mu.Lock()
		_, running := b.running[model.Key{Namespace: "default", Name: "hello-00001"}]
		b.mu.Unlock()
		var revisions servingv1.RevisionList
		var routes servingv1.RouteList
		var configurations servingv1.ConfigurationList
		for _, list := range []client.ObjectList{&revisions, &routes, &configurations} {
			if err := b.List(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		left := len(revisions.Items) + len(routes.Items) + len(configurations.Items)
		return !running && left == 3 && b.split("hello") == nil, fmt.Sprintf("%d objects, running %v", left, running)
	})
	b.eventuallyReady("other")
}

func TestRestartServesWhatWasThere(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	stop := b.startAdapter()
	for i := range 20 {
		if err := b.Create(t.Context(), newService(fmt.Sprintf("s%d", i), "one")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		b.eventuallyReady(fmt.Sprintf("s%d", i))
	}
	stop()
	b.mu.Lock()
	b.worlds, b.running = nil, map[model.Key]model.Workload{}
	b.mu.Unlock()
	stop = b.startAdapter()
	defer stop()
	b.eventually("a World", func() (bool, string) { return len(b.newest().Routes) > 0, "none" })
	b.mu.Lock()
	first := b.worlds[0]
	b.mu.Unlock()
	if len(first.Routes) != 20 || len(first.Backends) != 20 {
		t.Fatalf("the first World after a restart has %d routes and %d backends, want 20: an incomplete World takes down what served",
			len(first.Routes), len(first.Backends))
	}
	for _, r := range first.Routes {
		if len(r.Rules) == 0 || len(r.Rules[0].Shares) == 0 {
			t.Errorf("route %s has no shares", r.Key)
		}
	}
	if !slices.IsSortedFunc(first.Routes, func(a, b *model.Route) int { return a.Key.Compare(b.Key) }) {
		t.Error("routes are not sorted")
	}
}

func TestProblemReachesTheOwnersStatus(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	owner := model.Ref{Kind: "Route", Key: model.Key{Namespace: "default", Name: "hello"}}
	b.adapter.Report([]model.Problem{{Owner: owner, Reason: "HostTaken", Message: "The host is taken."}})
	b.eventually("the problem shows", func() (bool, string) {
		c := b.service("hello").Status.Condition("RoutesReady")
		return c != nil && c.Status == "False" && c.Reason == "HostTaken" && c.Message == "The host is taken.", fmt.Sprintf("%+v", c)
	})
	b.adapter.Report(nil)
	b.eventuallyReady("hello")
}

func TestRejectionShowsOnRouteAndServiceAndRevisionAndEnds(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	key := func(name string) model.Key { return model.Key{Namespace: "default", Name: name} }
	rejected := func(kind, name string) model.Problem {
		return model.Problem{
			Owner: model.Ref{Kind: kind, Key: key(name)}, Reason: model.ResourceRejected, Message: "1 of 2 gateways reject it.",
		}
	}
	says := func(s servingv1.Status, kind, status, reason string) (bool, string) {
		c := s.Condition(kind)
		return c != nil && string(c.Status) == status && c.Reason == reason &&
				(reason == "" || c.Message == "1 of 2 gateways reject it."),
			fmt.Sprintf("%+v", c)
	}
	b.adapter.Report([]model.Problem{rejected("Revision", "hello-00001"), rejected("Route", "hello")})
	b.eventually("the Service shows it", func() (bool, string) {
		return says(b.service("hello").Status.Status, "RoutesReady", "False", model.ResourceRejected)
	})
	b.eventually("the Revision shows it", func() (bool, string) {
		return says(b.revision("hello-00001").Status.Status, "ResourcesAvailable", "True", model.ResourceRejected)
	})
	if ok, is := says(b.revision("hello-00001").Status.Status, "Ready", "True", ""); !ok {
		t.Errorf("the Revision, which serves, is %s", is)
	}
	if ok, is := says(b.service("hello").Status.Status, "ConfigurationsReady", "True", ""); !ok {
		t.Errorf("the Configuration, whose Revision serves, is %s", is)
	}
	b.adapter.Report(nil)
	b.eventuallyReady("hello")
	b.eventually("the Revision is quiet again", func() (bool, string) {
		return says(b.revision("hello-00001").Status.Status, "ResourcesAvailable", "True", "")
	})
}
