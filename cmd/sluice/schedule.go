package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/autoscaler/schedule"
	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/cmd/sluice/preview"
	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/crds/convert"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/folder"
)

func scheduleCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "schedule",
		Short: "Look ahead at schedules of replicas",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(previewCommand())
	return c
}

// previewFlags are the flags of `sluice schedule preview`.
type previewFlags struct {
	cluster   clusterFlags
	dataDir   string
	namespace string
	files     []string
	from      string
	days      int
	windows   int
	svg       string
}

func previewCommand() *cobra.Command {
	var f previewFlags
	c := &cobra.Command{
		Use:   "preview [-f FILE | NAME]",
		Short: "Print and draw the next windows of schedules, and the bounds that result",
		Long: `Preview shows when the windows of a schedule open and close, and how many replicas its Services have at
least and at most at each time. Where windows overlap, the largest minReplicas and the smallest maxReplicas
count, and the minimum wins over a maximum that is less. Times are in the time zone of the schedule.

-f takes files with ScalingSchedules, or with Services whose template has the annotation
autoscaling.sluice.dev/schedule; all of them are shown as if they concerned one Service. NAME is a
ScalingSchedule of the sluice up of --data-dir, or of the cluster that kubectl would use.

A schedule:

  apiVersion: autoscaling.sluice.dev/v1alpha1
  kind: ScalingSchedule
  metadata: {name: office}
  spec:
    services: [hello]
    timeZone: Europe/Berlin
    entries:
    - name: hours                # Monday to Friday, 8 to 18 by the clocks of Berlin
      start: 0 8 * * 1-5         # minute, hour, day of month, month, day of week
      end: 0 18 * * 1-5          # or duration: 10h
      minReplicas: 10

docs/scaling.md says what daylight-saving time does to windows.`,
		Example: `  sluice schedule preview -f examples/schedule/office.yaml
  sluice schedule preview office --days 30 --svg office.svg
  sluice schedule preview -f office.yaml --from 2027-03-27 --days 3`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	f.cluster.add(c)
	flags := c.Flags()
	flags.StringVar(&f.dataDir, "data-dir", ".sluice", "data directory of a sluice up")
	flags.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of NAME")
	flags.StringArrayVarP(&f.files, "filename", "f", nil, "manifest file or folder, - for the standard input; may be repeated")
	flags.StringVar(&f.from, "from", "",
		"first moment: 2027-03-27, \"2027-03-27 15:04\" in the schedule's time zone, or RFC 3339; by default now")
	flags.IntVar(&f.days, "days", 7, "how many days to show, from 1 to 366")
	flags.IntVar(&f.windows, "windows", 20, "how many windows to print at most, from 1 to 1000")
	flags.StringVar(&f.svg, "svg", "", "file to draw the bounds to")
	return c
}

func (f *previewFlags) run(c *cobra.Command, args []string) error {
	switch {
	case (len(f.files) > 0) == (len(args) > 0):
		return errors.New("want either -f FILE or the NAME of a ScalingSchedule")
	case f.days < 1 || f.days > 366:
		return fmt.Errorf("--days %d is not from 1 to 366", f.days)
	case f.windows < 1 || f.windows > 1000:
		return fmt.Errorf("--windows %d is not from 1 to 1000", f.windows)
	}
	schedules, err := f.read(c.Context(), args)
	if err != nil {
		return err
	}
	p := preview.Preview{Windows: f.windows}
	for _, s := range schedules {
		compiled, err := schedule.Compile(s)
		if err != nil {
			return fmt.Errorf("%s:\n%w", s.Name, err)
		}
		p.Schedules = append(p.Schedules, compiled)
	}
	if p.From, err = f.begin(p.Schedules[0].Zone()); err != nil {
		return err
	}
	p.To = p.From.AddDate(0, 0, f.days)
	if err := f.draw(&p); err != nil {
		return err
	}
	return p.WriteTable(c.OutOrStdout())
}

func (f *previewFlags) draw(p *preview.Preview) error {
	if f.svg == "" {
		return nil
	}
	file, err := os.Create(f.svg)
	if err != nil {
		return fmt.Errorf("drawing --svg: %w", err)
	}
	if err := errors.Join(p.Chart().WriteSVG(file), file.Close()); err != nil {
		return fmt.Errorf("drawing --svg %s: %w", f.svg, err)
	}
	return nil
}

// begin is the first moment to show.
func (f *previewFlags) begin(zone *time.Location) (time.Time, error) {
	if f.from == "" {
		return time.Now().In(zone).Truncate(time.Second), nil
	}
	return moment("from", f.from, zone)
}

// moment reads the value of a flag that is a moment.
func moment(flag, text string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.In(zone), nil
		}
	}
	return time.Time{}, fmt.Errorf(`--%s %q is no moment such as 2027-03-27, "2027-03-27 15:04" or 2027-03-27T15:04:00+01:00`, flag, text)
}

func (f *previewFlags) read(ctx context.Context, args []string) ([]*model.Schedule, error) {
	if len(args) > 0 {
		s, err := f.get(ctx, args[0])
		return []*model.Schedule{s}, err
	}
	documents, err := manifest.Read(f.files)
	if err != nil {
		return nil, err
	}
	var all []*model.Schedule
	for _, d := range documents {
		if d.Err != nil {
			return nil, fmt.Errorf("%s: %w", d.Source, d.Err)
		}
		s, err := scheduleIn(d.Object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Source, err)
		}
		if s != nil {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the files have neither a ScalingSchedule nor a template with the annotation " +
			autoscalingv1alpha1.ScheduleAnnotation)
	}
	return all, nil
}

// scheduleIn returns the schedule that an object is, or that its template has; nil when there is none.
func scheduleIn(o *unstructured.Unstructured) (*model.Schedule, error) {
	if o.GetKind() == autoscalingv1alpha1.KindScalingSchedule {
		var s autoscalingv1alpha1.ScalingSchedule
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &s, true); err != nil {
			return nil, fmt.Errorf("reading %s %s: %w", o.GetKind(), o.GetName(), err)
		}
		return convert.Schedule(&s)
	}
	annotations, _, err := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "annotations")
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	s, err := convert.AnnotatedSchedule(annotations)
	if s != nil {
		s.Name = fmt.Sprintf("%s of %s %q", s.Name, o.GetKind(), o.GetName())
	}
	return s, err
}

// get reads a ScalingSchedule from an API server.
func (f *previewFlags) get(ctx context.Context, name string) (*model.Schedule, error) {
	own := filepath.Join(f.dataDir, "kubeconfig") // sluice up writes it
	if _, err := os.Stat(own); err == nil && f.cluster.kubeconfig == "" && f.cluster.context == "" {
		if err := folder.Check(f.dataDir); err != nil { // a kubeconfig may name programs to run
			return nil, err
		}
		f.cluster.kubeconfig = own
	}
	config, err := f.cluster.config()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := autoscalingv1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the Kubernetes API: %w", err)
	}
	var s autoscalingv1alpha1.ScalingSchedule
	if err := api.Get(ctx, types.NamespacedName{Namespace: f.namespace, Name: name}, &s); err != nil {
		return nil, fmt.Errorf("reading ScalingSchedule %s/%s: %s", f.namespace, name, manifest.InWords(err))
	}
	return convert.Schedule(&s)
}
