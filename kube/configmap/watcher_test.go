package configmap

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/config"
	"sluice.dev/sluice/test/kubeapi"
)

func TestMain(m *testing.M) { kubeapi.Main(m) }

// bench is a namespace on a real API server.
type bench struct {
	client.Client
	t         *testing.T
	namespace string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	server := kubeapi.Start(t)
	c, err := client.New(server, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return &bench{Client: c, t: t, namespace: namespace.Name}
}

// watched is a running Watcher with all Settings that it announced.
type watched struct {
	*Watcher
	t    *testing.T
	stop func()

	mu   sync.Mutex
	seen []config.Settings
}

func (b *bench) start(leads func() bool) *watched {
	b.t.Helper()
	w, err := New(Options{Config: kubeapi.Start(b.t), Namespace: b.namespace, Leads: leads})
	if err != nil {
		b.t.Fatal(err)
	}
	out := &watched{Watcher: w, t: b.t}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := w.Run(ctx); err != nil {
			b.t.Error(err)
		}
	})
	all.Go(func() {
		w.Follow(ctx, func(s config.Settings) {
			out.mu.Lock()
			defer out.mu.Unlock()
			out.seen = append(out.seen, s)
		})
	})
	out.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	b.t.Cleanup(out.stop)
	return out
}

func (w *watched) all() []config.Settings {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// becomes waits until the newest Settings that were announced fulfil a condition.
func (w *watched) becomes(what string, ok func(config.Settings) bool) {
	w.t.Helper()
	eventually(w.t, what, func() bool {
		all := w.all()
		return len(all) > 0 && ok(all[len(all)-1])
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// put creates a ConfigMap or replaces its data.
func (b *bench) put(name string, data map[string]string) {
	b.t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name}, Data: data}
	if err := b.Create(b.t.Context(), o); err == nil {
		return
	}
	if err := b.Update(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(name string) {
	b.t.Helper()
	if err := b.Delete(b.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name}}); err != nil {
		b.t.Fatal(err)
	}
}

// events returns the Events of a ConfigMap, as "Warning InvalidConfiguration: message".
func (b *bench) events(name string) []string {
	b.t.Helper()
	var list corev1.EventList
	if err := b.List(b.t.Context(), &list, client.InNamespace(b.namespace)); err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "ConfigMap" && e.InvolvedObject.Name == name {
			all = append(all, fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Message))
		}
	}
	return all
}

func (b *bench) event(name, want string) {
	b.t.Helper()
	eventually(b.t, "the Event "+want, func() bool {
		for _, e := range b.events(name) {
			if strings.Contains(e, want) {
				return true
			}
		}
		return false
	})
}

// metric compares the metric of one ConfigMap; those of all others are 0.
func (w *watched) metric(name string, value int) {
	w.t.Helper()
	var want strings.Builder
	want.WriteString("# HELP sluice_configmap_invalid 1 while a ConfigMap of the configuration is wrong, and data before it are in force; " +
		"else 0.\n# TYPE sluice_configmap_invalid gauge\n")
	for _, n := range config.Names() {
		v := 0
		if n == name {
			v = value
		}
		fmt.Fprintf(&want, "sluice_configmap_invalid{name=%q} %d\n", n, v)
	}
	if err := testutil.CollectAndCompare(w, strings.NewReader(want.String())); err != nil {
		w.t.Error(err)
	}
}

func maxScale(n int) func(config.Settings) bool {
	return func(s config.Settings) bool { return s.Autoscaler.MaxScale == n }
}

func TestWithoutConfigMapsDefaultsAreInForce(t *testing.T) {
	b := newBench(t)
	w := b.start(nil)
	got, err := w.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	w.metric("", 0)
}

func TestSettingsFollowTheConfigMaps(t *testing.T) {
	b := newBench(t)
	b.put(config.AutoscalerName, map[string]string{"max-scale": "5", "_example": "max-scale: 7"})
	b.put(config.RetentionName, map[string]string{"min-non-active-revisions": "3"})
	b.put("config-other", map[string]string{"max-scale": "9"})
	w := b.start(nil)
	w.becomes("the first ones", maxScale(5))
	if first := w.all()[0]; first.Autoscaler.MaxScale != 5 || first.Retention.Min != 3 {
		t.Errorf("the first settings are %+v, want those of the ConfigMaps: defaults must not come first", first)
	}
	b.put(config.AutoscalerName, map[string]string{"max-scale": "6"})
	w.becomes("a changed one", maxScale(6))
	b.put(config.DefaultsName, map[string]string{"revision-timeout-seconds": "77"})
	w.becomes("a new one", func(s config.Settings) bool { return s.Defaults.TimeoutSeconds == 77 && s.Autoscaler.MaxScale == 6 })
	b.remove(config.AutoscalerName)
	w.becomes("a deleted one means defaults", maxScale(0))
	for _, name := range append(config.Names(), "config-other") {
		if events := b.events(name); len(events) > 0 {
			t.Errorf("Events of %s: %v, want none", name, events)
		}
	}
	w.metric("", 0)
}

func TestWrongConfigMapIsToldAndTheLastGoodOneKept(t *testing.T) {
	b := newBench(t)
	b.put(config.AutoscalerName, map[string]string{"max-scale": "5"})
	w := b.start(nil)
	w.becomes("the good one", maxScale(5))
	b.put(config.AutoscalerName, map[string]string{"max-scale": "-5", "stable-window": "30s"})
	b.event(config.AutoscalerName, "Warning InvalidConfiguration: max-scale = -5, must be in [0, max-scale-limit(0)] range. "+
		"In force: the last good data.")
	w.metric(config.AutoscalerName, 1)
	// Changes of others go on.
	b.put(config.DefaultsName, map[string]string{"container-concurrency": "7"})
	w.becomes("another one changes, and of the wrong one the last good data stay", func(s config.Settings) bool {
		return s.Defaults.ContainerConcurrency == 7 && s.Autoscaler.MaxScale == 5 && s.Autoscaler.StableWindow == time.Minute
	})
	b.put(config.AutoscalerName, map[string]string{"max-scale": "6"})
	w.becomes("it is right again", maxScale(6))
	b.event(config.AutoscalerName, "Normal ValidConfiguration")
	w.metric("", 0)
}

func TestLastGoodDataOutliveTheProcess(t *testing.T) {
	b := newBench(t)
	b.put(config.AutoscalerName, map[string]string{"max-scale": "5"})
	w := b.start(nil)
	w.becomes("the good one", maxScale(5))
	eventually(t, "the good data are stored", func() bool {
		o := &corev1.ConfigMap{}
		err := b.Get(t.Context(), client.ObjectKey{Namespace: b.namespace, Name: LastGoodName}, o)
		return err == nil && o.Data[config.AutoscalerName] == `{"max-scale":"5"}`
	})
	w.stop()
	b.put(config.AutoscalerName, map[string]string{"max-scale": "many"})
	b.put(config.DefaultsName, map[string]string{"container-concurrency": "many"})
	w = b.start(nil)
	w.becomes("the last good data of the process before", maxScale(5))
	b.event(config.AutoscalerName, "In force: the last good data.")
	b.event(config.DefaultsName, `container-concurrency is "many", want a whole number from 0 to 2147483647. In force: Knative's defaults.`)
	w.stop()
	b.remove(config.AutoscalerName)
	w = b.start(nil)
	w.becomes("a missing one means defaults, whatever is stored", maxScale(0))
	eventually(t, "nothing is stored of it any more", func() bool {
		o := &corev1.ConfigMap{}
		err := b.Get(t.Context(), client.ObjectKey{Namespace: b.namespace, Name: LastGoodName}, o)
		_, has := o.Data[config.AutoscalerName]
		return err == nil && !has
	})
}

func TestOnlyTheLeaderWrites(t *testing.T) {
	b := newBench(t)
	b.put(config.AutoscalerName, map[string]string{"max-scale": "5"})
	b.put(config.DefaultsName, map[string]string{"container-concurrency": "-1"})
	var leads atomic.Bool
	w := b.start(leads.Load)
	w.becomes("a follower has the settings", maxScale(5))
	w.metric(config.DefaultsName, 1)
	b.put(config.AutoscalerName, map[string]string{"max-scale": "6"})
	w.becomes("a follower follows", maxScale(6))
	if events := b.events(config.DefaultsName); len(events) > 0 {
		t.Errorf("Events of a follower: %v", events)
	}
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: b.namespace, Name: LastGoodName}, &corev1.ConfigMap{}); err == nil {
		t.Error("a follower stored the last good data")
	}
	leads.Store(true)
	b.event(config.DefaultsName, "InvalidConfiguration")
	eventually(t, "the leader stores the last good data", func() bool {
		o := &corev1.ConfigMap{}
		err := b.Get(t.Context(), client.ObjectKey{Namespace: b.namespace, Name: LastGoodName}, o)
		return err == nil && o.Data[config.AutoscalerName] == `{"max-scale":"6"}`
	})
}

func TestKeysWithoutEffectAreTold(t *testing.T) {
	b := newBench(t)
	w := b.start(nil)
	b.put(config.AutoscalerName, map[string]string{"max-scle": "5", "max-scale": "3"})
	w.becomes("the known keys count", maxScale(3))
	b.event(config.AutoscalerName, "Warning IgnoredConfiguration: Nothing reads max-scle.")
	b.put(config.FeaturesName, map[string]string{"kubernetes.podspec-hostipc": "Enabled"})
	b.event(config.FeaturesName, "kubernetes.podspec-hostipc is Enabled, and Sluice does not have it")
	w.metric("", 0)
	b.put(config.AutoscalerName, map[string]string{"max-scale": "3"})
	b.event(config.AutoscalerName, "Normal ValidConfiguration")
}

func TestSettingsWaitForTheFirstRead(t *testing.T) {
	w, err := New(Options{Config: &rest.Config{Host: "http://127.0.0.1:1"}, Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	first := make(chan error, 1)
	go func() {
		_, err := w.Settings(ctx)
		first <- err
	}()
	cancel()
	if err := <-first; err == nil || !strings.Contains(err.Error(), "waiting for ConfigMaps of namespace default") {
		t.Errorf("error %v, want it to say what was awaited", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
