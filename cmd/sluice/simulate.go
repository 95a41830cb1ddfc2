package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/autoscaler/schedule"
	"sluice.dev/sluice/autoscaler/simulate"
	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/cmd/sluice/policy"
	"sluice.dev/sluice/model"
)

// simulateFlags are the flags of `sluice simulate`.
type simulateFlags struct {
	policy policy.Source
	vs     string

	trace string
	shape simulate.Shape

	latency, startup, jitter, timeout time.Duration

	begin   string
	compare bool

	start  int
	output string
	svg    string
	every  time.Duration
}

func simulateCommand() *cobra.Command {
	var f simulateFlags
	c := &cobra.Command{
		Use:   "simulate [-f FILE] [--trace FILE | --shape NAME]",
		Short: "Print and draw what a scaling policy would do with a load, before it is deployed",
		Long: `Simulate runs a load through the autoscaler, the same code that scales revisions, with a model of
requests and replicas in place of real ones: what a policy would have done, how long requests would have
waited, and what it would have cost. An hour takes a fraction of a second.

The policy is that of a Service, Configuration or Revision (-f), of annotations (--annotation), or of both;
the latter win. An annotation may be written without its group: target=10 is autoscaling.knative.dev/target=10.
--vs simulates a second policy beside it, which differs by some annotations.

Schedules are followed: the ScalingSchedules of -f about the Service, and the schedule in its annotations.
--begin says on which day the load begins. With the annotation sluice.dev/predictive=auto forecasts take
part, from the load of the simulation: the third day is the first one that they know. --compare simulates
the policy as it would scale by its load alone, by its schedules, by forecasts, and by both, and prints
the totals side by side; with --every it prints rows too.

The load is a CSV file (--trace) or a shape (--shape, by default step). The header of a CSV is
seconds,rps or seconds,rps,latency_ms or seconds,concurrency; a row holds until the next. The shapes are:

` + simulate.ShapeHelp() + `
Rows are printed where something changed, or every so often with --every; -o json and -o csv have every
second. docs/simulate.md says what the model leaves out.`,
		Example: `  sluice simulate --annotation target=10 --shape spike --peak 200
  sluice simulate -f examples/simulate/policy.yaml --trace examples/simulate/morning.csv --svg morning.svg
  sluice simulate -f examples/simulate/policy.yaml --shape burst --vs scale-down-delay=5m
  sluice simulate --shape diurnal --period 24h --length 24h --peak 500 --every 30m
  sluice simulate -f examples/simulate/week.yaml --trace examples/simulate/week.csv --startup 30s --begin 2027-03-01 --compare`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.add(c)
	return c
}

func (f *simulateFlags) add(c *cobra.Command) {
	flags := c.Flags()
	f.policy.AddFlags(flags)
	flags.StringVar(&f.vs, "vs", "", "annotations of a second policy, otherwise like the first: KEY=VALUE[,KEY=VALUE...]")
	flags.StringVar(&f.trace, "trace", "", "CSV file with the load")
	flags.StringVar(&f.shape.Name, "shape", "step", "built-in load: "+strings.Join(simulate.ShapeNames(), ", "))
	flags.Float64Var(&f.shape.Base, "base", 0, "least load of a shape, in requests a second")
	flags.Float64Var(&f.shape.Peak, "peak", 100, "greatest load of a shape, in requests a second")
	flags.DurationVar(&f.shape.Period, "period", 0, "how long the pattern of a shape takes; by default the shape's own")
	flags.DurationVar(&f.shape.Length, "length", 10*time.Minute, "how long to simulate; with --trace by default to its end")
	flags.Uint64Var(&f.shape.Seed, "seed", 1, "seed of what is random: --shape random and --startup-jitter")
	flags.DurationVar(&f.latency, "latency", 100*time.Millisecond, "how long a replica works on one request")
	flags.DurationVar(&f.startup, "startup", time.Second, "how long a replica takes from the decision until it is ready")
	flags.DurationVar(&f.jitter, "startup-jitter", 0, "how much longer a replica may take at random")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long a request may wait for a replica; by default timeoutSeconds of -f, else 5m")
	flags.IntVar(&f.start, "start", model.UnknownReplicas,
		"replicas that are ready at the beginning, 0 for none; -1 for as many as a new revision has")
	flags.StringVarP(&f.output, "output", "o", "table", "what to print: table, json or csv")
	flags.StringVar(&f.svg, "svg", "", "file to draw the chart to")
	flags.DurationVar(&f.every, "every", 0, "print a row every so often, in whole seconds, instead of where something changed")
	flags.StringVar(&f.begin, "begin", "",
		"when the load begins: 2027-03-01, \"2027-03-01 08:30\" in the first schedule's time zone, or RFC 3339; by default 2000-01-01")
	flags.BoolVar(&f.compare, "compare", false, "compare scaling by the load alone, by the schedules, by forecasts, and by both")
	c.MarkFlagsMutuallyExclusive("trace", "shape")
	c.MarkFlagsMutuallyExclusive("compare", "vs")
}

func (f *simulateFlags) run(c *cobra.Command) error {
	write, err := f.writer()
	if err != nil {
		return err
	}
	load, err := f.load(c.Flags().Changed("length"))
	if err != nil {
		return err
	}
	report := simulate.Report{Load: load, Every: int(f.every / time.Second), Brief: f.compare && f.every == 0}
	first, err := f.policy.Read()
	if err != nil {
		return err
	}
	for _, key := range first.Unknown {
		fmt.Fprintf(c.ErrOrStderr(), "--config: %q is no key of config-autoscaler and is ignored\n", key)
	}
	policies, err := f.policies(first)
	if err != nil {
		return err
	}
	for _, p := range policies {
		runs, err := f.simulate(p, load)
		if err != nil {
			return err
		}
		report.Runs = append(report.Runs, runs...)
	}
	if f.svg != "" {
		if err := draw(f.svg, &report); err != nil {
			return err
		}
	}
	return write(&report, c.OutOrStdout())
}

// policies are the one that is given, and with --vs the one that it is compared with.
func (f *simulateFlags) policies(first policy.Policy) ([]policy.Policy, error) {
	if f.vs == "" {
		return []policy.Policy{first}, nil
	}
	second, err := first.With(strings.Split(f.vs, ","))
	if err != nil {
		return nil, fmt.Errorf("--vs: %w", err)
	}
	second.Name = f.vs
	if first.Name == "" {
		first.Name = "as given"
	}
	return []policy.Policy{first, second}, nil
}

// writer is how to print the report.
func (f *simulateFlags) writer() (func(*simulate.Report, io.Writer) error, error) {
	if f.every < 0 || f.every%time.Second != 0 {
		return nil, fmt.Errorf("--every %v is no number of whole seconds", f.every)
	}
	switch f.output {
	case "table":
		return (*simulate.Report).WriteTable, nil
	case "json":
		return (*simulate.Report).WriteJSON, nil
	case "csv":
		return (*simulate.Report).WriteCSV, nil
	}
	return nil, fmt.Errorf("--output %q is none of table, json and csv", f.output)
}

// load reads the trace or makes the shape.
func (f *simulateFlags) load(lengthGiven bool) (simulate.Load, error) {
	if f.latency < time.Millisecond || f.latency > simulate.MaxLatency {
		return simulate.Load{}, fmt.Errorf("--latency %v is out of range: want 1ms to %v", f.latency, simulate.MaxLatency)
	}
	if f.trace == "" {
		f.shape.Latency = f.latency
		return f.shape.Load()
	}
	file, err := manifest.Open(f.trace)
	if err != nil {
		return simulate.Load{}, fmt.Errorf("reading --trace: %w", err)
	}
	defer file.Close()
	l, err := simulate.ReadTrace(file, f.latency)
	if err != nil {
		return simulate.Load{}, fmt.Errorf("--trace %s: %w", f.trace, err)
	}
	l.Name = f.trace
	if lengthGiven {
		l.Length = f.shape.Length
	}
	return l, nil
}

// simulate simulates a policy: as it is, or in each way that --compare compares.
func (f *simulateFlags) simulate(p policy.Policy, load simulate.Load) ([]simulate.Named, error) {
	o, err := f.options(&p, load)
	if err != nil {
		return nil, err
	}
	strategies := []simulate.Strategy{{Name: p.Name, Options: o}}
	if f.compare {
		strategies = simulate.Strategies(o)
	}
	var out []simulate.Named
	for _, s := range strategies {
		result, err := simulate.Run(s.Options)
		if err != nil {
			names := slices.DeleteFunc([]string{p.Name, load.Name}, func(s string) bool { return s == "" })
			return nil, fmt.Errorf("simulating %s: %w", strings.Join(names, " with "), err)
		}
		out = append(out, simulate.Named{Name: s.Name, Policy: s.Describe(), Scaling: s.Policy, Result: result})
	}
	return out, nil
}

func (f *simulateFlags) options(p *policy.Policy, load simulate.Load) (simulate.Options, error) {
	o := simulate.Options{
		Policy: p.Scaling(), Concurrency: p.Concurrency, Load: load, Startup: f.startup, Jitter: f.jitter, Timeout: f.timeout,
		Seed: f.shape.Seed, Start: max(model.UnknownReplicas, f.start),
	}
	if o.Timeout == 0 {
		o.Timeout = p.Timeout
	}
	planned, err := p.Schedules()
	if err != nil {
		return o, err
	}
	zone := time.UTC
	for i, s := range planned {
		compiled, err := schedule.Compile(s)
		if err != nil {
			return o, fmt.Errorf("%s:\n%w", s.Name, err)
		}
		if o.Schedules = append(o.Schedules, compiled); i == 0 {
			zone = compiled.Zone()
		}
	}
	if f.begin != "" {
		o.Begin, err = moment("begin", f.begin, zone)
	}
	return o, err
}

// draw writes the chart to a file.
func draw(path string, report *simulate.Report) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("drawing --svg: %w", err)
	}
	if err := errors.Join(report.Chart().WriteSVG(file), file.Close()); err != nil {
		return fmt.Errorf("drawing --svg %s: %w", path, err)
	}
	return nil
}
