package configmap

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"sluice.dev/sluice/config"
)

// Options of a Watcher.
type Options struct {
	// Config reaches the API server. It needs get, list and watch on the ConfigMaps of config.Names and on LastGoodName, create and update
	// on the latter, and create and patch on Events; all in Namespace.
	Config *rest.Config
	// Namespace is that of the installation.
	Namespace string
	// Logger logs changes and mistakes; nil discards them.
	Logger hclog.Logger
	// Leads says whether this process writes: Events, and the last good data. Of several processes one should. nil means always.
	Leads func() bool
}

// Watcher is made by New and driven by Run. Its other methods may be called from any goroutine, also before Run.
type Watcher struct {
	// Set once.
	options   Options
	log       hclog.Logger
	client    corev1client.CoreV1Interface
	informers map[string]toolscache.SharedIndexInformer // by name of the ConfigMap
	wake      chan struct{}                             // a ConfigMap may have changed

	// Only for the goroutine of Run.
	events record.EventRecorder
	good   *lastGood

	// Guarded by mu.
	mu       sync.Mutex
	read     bool // all ConfigMaps were read
	settings config.Settings
	changed  chan struct{} // closed when settings change
	states   map[string]*state
}

// state is what is known of one ConfigMap.
type state struct {
	object  *corev1.ConfigMap // nil when it is missing
	wrong   string            // what is wrong with it; empty when nothing
	ignored string            // what of it has no effect; empty when nothing
	last    notice            // the last Event
}

const (
	// settle is how often what could not be written is tried again: by a process that did not lead, or without an API server.
	settle = 5 * time.Second
	// waiting is the time between two log lines while ConfigMaps cannot be read.
	waiting = 10 * time.Second
)

// New makes a Watcher.
func New(o Options) (*Watcher, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	client, err := corev1client.NewForConfig(o.Config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server for ConfigMaps: %w", err)
	}
	w := &Watcher{
		options: o, log: o.Logger.Named("configuration"), client: client,
		informers: map[string]toolscache.SharedIndexInformer{}, wake: make(chan struct{}, 1),
		settings: config.Default(), changed: make(chan struct{}), states: map[string]*state{},
	}
	w.good = newLastGood(client.ConfigMaps(o.Namespace), w.log)
	for _, name := range config.Names() {
		w.states[name] = &state{}
		if w.informers[name], err = w.informer(name); err != nil {
			return nil, fmt.Errorf("watching ConfigMap %s: %w", name, err)
		}
	}
	return w, nil
}

// informer watches one ConfigMap by name, so that a role may be limited to names.
func (w *Watcher) informer(name string) (toolscache.SharedIndexInformer, error) {
	one := toolscache.NewListWatchFromClient(w.client.RESTClient(), "configmaps", w.options.Namespace,
		fields.OneTermEqualSelector("metadata.name", name))
	i := toolscache.NewSharedIndexInformer(one, &corev1.ConfigMap{}, 0, toolscache.Indexers{})
	if err := i.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
		w.log.Warn("cannot watch a ConfigMap; trying again", "name", name, "error", err)
	}); err != nil {
		return nil, err
	}
	_, err := i.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { w.signal() }, UpdateFunc: func(any, any) { w.signal() }, DeleteFunc: func(any) { w.signal() },
	})
	return i, err
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run watches until the context ends.
func (w *Watcher) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	events, end := newRecorder(ctx, w.client.Events(w.options.Namespace))
	defer end()
	w.events = events
	for _, i := range w.informers {
		all.Go(func() { i.RunWithContext(ctx) })
	}
	if !w.awaitFirst(ctx) {
		return nil
	}
	w.good.load(ctx)
	ticker := time.NewTicker(settle)
	defer ticker.Stop()
	for {
		w.take()
		w.write(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-ticker.C:
		}
	}
}

// awaitFirst waits until every ConfigMap was read or found missing. It returns false when the context ends before.
func (w *Watcher) awaitFirst(ctx context.Context) bool {
	logged := time.Now()
	for {
		var missing []string
		for _, name := range config.Names() {
			if !w.informers[name].HasSynced() {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return true
		}
		if time.Since(logged) >= waiting {
			logged = time.Now()
			w.log.Info("waiting for ConfigMaps to be read", "namespace", w.options.Namespace, "names", strings.Join(missing, ", "))
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// take reads all ConfigMaps from the informers, and announces the Settings when they changed or are the first.
func (w *Watcher) take() {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := !w.read
	for _, name := range config.Names() {
		before = w.takeOne(name) || before
	}
	w.read = true
	if before {
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// takeOne reads one ConfigMap, and says whether the Settings changed.
func (w *Watcher) takeOne(name string) bool {
	s := w.states[name]
	var object *corev1.ConfigMap
	if o, ok, _ := w.informers[name].GetStore().GetByKey(w.options.Namespace + "/" + name); ok { // a store in memory has no error
		object = o.(*corev1.ConfigMap)
	}
	if w.read && version(object) == version(s.object) {
		return false
	}
	was := s.object
	s.object = object
	next, notes, err := w.settings.With(name, dataOf(object))
	if err != nil {
		return w.refuse(name, s, err)
	}
	s.wrong, s.ignored = "", sentences(notes)
	w.settings = next
	w.good.put(name, dataOf(object))
	if w.read {
		w.log.Info("the configuration has changed", "configmap", name, "missing", object == nil)
	}
	if s.ignored != "" && (was == nil || object.ResourceVersion != was.ResourceVersion) {
		w.log.Warn("a part of the configuration has no effect", "configmap", name, "why", s.ignored)
	}
	return true
}

// refuse notes that a ConfigMap is wrong. At the start the last good data are those of the process before; it returns whether there were
// any.
func (w *Watcher) refuse(name string, s *state, err error) bool {
	s.wrong, s.ignored = strings.ReplaceAll(err.Error(), "\n", "; "), ""
	inForce, recovered := "the last good data", false
	if !w.read {
		inForce = "Knative's defaults"
		if data, ok := w.good.get(name); ok {
			if next, _, err := w.settings.With(name, data); err == nil {
				w.settings, inForce, recovered = next, "the last good data", true
			}
		}
	}
	w.log.Error("a ConfigMap is wrong", "configmap", name, "error", s.wrong, "in force", inForce)
	s.wrong += ". In force: " + inForce + "."
	return recovered
}

// Settings waits until all ConfigMaps were read once, and returns the newest Settings. Its error is that of the context.
func (w *Watcher) Settings(ctx context.Context) (config.Settings, error) {
	for {
		settings, read, changed := w.newest()
		if read {
			return settings, nil
		}
		select {
		case <-ctx.Done():
			return config.Settings{}, fmt.Errorf("waiting for ConfigMaps of namespace %s: %w", w.options.Namespace, ctx.Err())
		case <-changed:
		}
	}
}

// Follow calls do with the Settings as soon as all ConfigMaps were read, and with the newest Settings after each change, until the context
// ends. The calls come one after the other. Of changes that come during a call, only the last counts.
func (w *Watcher) Follow(ctx context.Context, do func(config.Settings)) {
	for {
		settings, read, changed := w.newest()
		if read {
			do(settings)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (w *Watcher) newest() (s config.Settings, read bool, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settings, w.read, w.changed
}

func version(o *corev1.ConfigMap) string {
	if o == nil {
		return ""
	}
	return string(o.UID) + "/" + o.ResourceVersion
}

// dataOf returns the data of a ConfigMap; nil when it is missing. Binary data is no text; its keys are unknown ones.
func dataOf(o *corev1.ConfigMap) map[string]string {
	if o == nil || len(o.BinaryData) == 0 {
		if o == nil {
			return nil
		}
		return o.Data
	}
	data := maps.Clone(o.Data)
	if data == nil {
		data = map[string]string{}
	}
	for key := range o.BinaryData {
		data[key] = ""
	}
	return data
}

// sentences says what of a ConfigMap has no effect.
func sentences(n config.Notes) string {
	all := slices.Clone(n.Ignored)
	if len(n.Unknown) > 0 {
		all = append(all, fmt.Sprintf("Nothing reads %s.", strings.Join(n.Unknown, ", ")))
	}
	return strings.Join(all, " ")
}
