package hpa

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	defaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	"k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

var write = flag.Bool("write", false, "write the files instead of comparing them")

const (
	period = 15 * time.Second
	window = 15 * time.Second // of a measurement
)

// measured is what a metrics client says.
type measured struct {
	metrics.MetricsClient // the other methods are not called
	metric                string
	replicas              []replica
}

var selector = map[string]string{"app": "hello"}

// GetResourceMetric implements metrics.MetricsClient: thousandths of cores and of bytes.
func (m *measured) GetResourceMetric(context.Context, corev1.ResourceName, string, labels.Selector, string) (metrics.PodMetricsInfo,
	time.Time, error) {
	info := metrics.PodMetricsInfo{}
	for _, r := range m.replicas {
		if r.usage < 0 {
			continue
		}
		value := r.usage
		if m.metric == "memory" {
			value *= 1000
		}
		info[r.name] = metrics.PodMetric{Timestamp: r.at, Window: window, Value: value}
	}
	if len(info) == 0 {
		return nil, time.Time{}, errors.New("no metrics")
	}
	return info, time.Now(), nil
}

// pod is a replica as the controller sees it.
func (r *replica) pod() *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: r.name, Labels: selector},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "user-container", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewMilliQuantity(r.request, resource.DecimalSI),
				corev1.ResourceMemory: resource.MustParse("1Gi"),
			},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if !r.started.IsZero() {
		p.Status.StartTime = &metav1.Time{Time: r.started}
	}
	ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Time{Time: r.turned}}
	switch r.state {
	case 'p':
		p.Status.Phase = corev1.PodPending
	case 'e':
		p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	case 'r':
		ready.Status = corev1.ConditionTrue
	}
	if !r.turned.IsZero() {
		p.Status.Conditions = []corev1.PodCondition{ready}
	}
	return p
}

func (t *trace) object() *autoscalingv2.HorizontalPodAutoscaler {
	target := autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(t.target))}
	if t.metric == "memory" {
		target = autoscalingv2.MetricTarget{
			Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewQuantity(t.target*mebi, resource.BinarySI),
		}
	}
	h := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "hello"},
			MinReplicas:    &t.min, MaxReplicas: t.max,
			Metrics: []autoscalingv2.MetricSpec{{
				Type:     autoscalingv2.ResourceMetricSourceType,
				Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceName(t.metric), Target: target},
			}},
		},
	}
	if t.window > 0 {
		h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{
			ScaleUp:   &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(t.window))},
			ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(t.window))},
		}
	}
	defaults.SetDefaults_HorizontalPodAutoscaler(h)
	defaults.SetDefaults_HorizontalPodAutoscalerBehavior(h)
	return h
}

// run returns the text of one file.
func (t *trace) run(tt *testing.T) (text string) {
	synctest.Test(tt, func(tt *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		current := t.start
		scales := &scalefake.FakeScaleClient{}
		scales.AddReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &autoscalingv1.Scale{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"}, Spec: autoscalingv1.ScaleSpec{Replicas: current},
				Status: autoscalingv1.ScaleStatus{Replicas: current, Selector: "app=hello"},
			}, nil
		})
		scales.AddReactor("update", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
			scale := a.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
			current = scale.Spec.Replicas
			return true, scale, nil
		})
		mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{appsv1.SchemeGroupVersion})
		mapper.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), meta.RESTScopeNamespace)
		client := fake.NewClientset(t.object())
		factory := informers.NewSharedInformerFactory(client, 0)
		pods := factory.Core().V1().Pods()
		says := &measured{metric: t.metric}
		c := podautoscaler.NewHorizontalController(ctx, client.CoreV1(), scales, client.AutoscalingV2(), mapper, says,
			factory.Autoscaling().V2().HorizontalPodAutoscalers(), pods, period, 5*time.Minute, 0.1, 5*time.Minute, 30*time.Second)
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		begin := time.Now()
		r := rand.New(rand.NewPCG(t.seed, 7))
		text = t.head()
		var all []replica
		for step := range t.steps {
			// The controller decides every 15 s; the replicas are as they are from a second before.
			now := begin.Add(time.Duration(step+1) * period)
			time.Sleep(time.Until(now.Add(-time.Second)))
			all = t.evolve(r, all, current, step, now)
			says.replicas = all
			objects := make([]any, len(all))
			for i := range all {
				objects[i] = all[i].pod()
			}
			if err := pods.Informer().GetStore().Replace(objects, ""); err != nil {
				tt.Fatal(err)
			}
			before := current
			if step == 0 {
				time.Sleep(time.Second)
				go c.Run(ctx, 1)
				time.Sleep(time.Second)
			} else {
				time.Sleep(2 * time.Second)
			}
			synctest.Wait()
			text += row(begin, now, before, current, all)
		}
		cancel()
		factory.Shutdown()
	})
	return text
}

func TestTheFilesAreWhatKubernetesSays(t *testing.T) {
	utilruntime.ErrorHandlers = nil // one of them sleeps by the time of the process
	for _, trace := range traces() {
		t.Run(trace.name, func(t *testing.T) {
			path := filepath.Join("..", "..", "autoscaler", "hpa", "testdata", trace.name+".trace")
			text := trace.run(t)
			if *write {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			have, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(have) != text {
				t.Errorf("%s differs: run go test . -write, and review it", path)
			}
		})
	}
}
