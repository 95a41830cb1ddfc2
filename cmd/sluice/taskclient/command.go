package taskclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/task"
)

// flags are those that all commands have.
type flags struct {
	client  Client
	output  string
	timeout time.Duration
}

// Command is `sluice tasks` with its subcommands.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use: "tasks", Short: "List, show, cancel and retry asynchronous tasks",
		Long: `An asynchronous task is a request with "Prefer: respond-async" to a service of the class
event.sluice.dev. It is answered with an ID once it is on disk, and runs later. docs/events.md tells more.

Tasks are read at the admin address of sluice up, which answers the user who runs it and root. Cancelling and
retrying goes to the gateway, at the host that the client had asked; whoever knows the ID may do so. With
--host, the gateway is asked for everything, and the admin address for nothing.`,
		Example: `  sluice tasks list --state failed
  sluice tasks show 06f8q2zq5ms70akc2z9ecjhvtw6fyr0q2d0g
  sluice tasks retry 06f8q2zq5ms70akc2z9ecjhvtw6fyr0q2d0g
  sluice tasks cancel 06f8q2zq5ms70akc2z9ecjhvtw6fyr0q2d0g --host render.default.localhost`,
	}
	c.AddCommand(listCommand(), showCommand(),
		stepCommand("cancel", "Cancel tasks that have not ended, also while they run", (*Client).Cancel),
		stepCommand("retry", "Have tasks tried again that failed or were cancelled, with all their tries", (*Client).Retry))
	return c
}

func (f *flags) add(set *pflag.FlagSet) {
	f.client.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	set.StringVar(&f.client.Admin, "admin", "http://127.0.0.1:9090", "URL of the admin address of sluice up")
	set.StringVarP(&f.output, "output", "o", "text", "text or json")
	const patience = 15 * time.Second
	set.DurationVar(&f.timeout, "timeout", patience, "how long the answers may take")
}

func (f *flags) addGateway(set *pflag.FlagSet) {
	set.StringVar(&f.client.Gateway, "gateway", "http://127.0.0.1:8080", "URL of the gateway")
	set.StringVar(&f.client.Host, "host", "", "host of a service of the task's namespace; by default the one that its client had asked")
}

// check says what is wrong with the flags, and adds the scheme that people leave out.
func (f *flags) check() error {
	if f.output != "text" && f.output != "json" {
		return fmt.Errorf("--output %q is none of text and json", f.output)
	}
	for _, address := range []*string{&f.client.Admin, &f.client.Gateway} {
		if *address != "" && !strings.Contains(*address, "://") {
			*address = "http://" + *address
		}
	}
	return nil
}

// run checks the flags, and gives a command its time.
func (f *flags) run(do func(ctx context.Context, c *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
		defer cancel()
		defer f.client.HTTP.CloseIdleConnections()
		return do(ctx, c, args)
	}
}

func listCommand() *cobra.Command {
	f, filter := &flags{}, Filter{}
	state := ""
	c := &cobra.Command{
		Use: "list", Short: "List tasks, the oldest first", Args: cobra.NoArgs,
		Long: `Lists the tasks that are kept: those that have not ended, and for a day those that have. TRIES is how often a
task was tried of how often it is tried at most, and STATUS that of the application's last answer.`,
		Example: `  sluice tasks list
  sluice tasks list -n shop --state waiting --limit 20
  sluice tasks list --revision default/render-00001 -o json`,
	}
	c.RunE = f.run(func(ctx context.Context, c *cobra.Command, _ []string) error {
		if filter.State = task.State(state); state != "" && !filter.State.Valid() {
			return fmt.Errorf("--state %q is none of %s", state, states())
		}
		if filter.Limit < 1 {
			return errors.New("--limit must be 1 or more")
		}
		if filter.Revision != "" && !strings.Contains(filter.Revision, "/") {
			filter.Revision = orDefault(filter.Namespace) + "/" + filter.Revision
		}
		tasks, more, err := f.client.List(ctx, filter)
		if err != nil {
			return err
		}
		if more {
			defer fmt.Fprintf(c.ErrOrStderr(), "there are more than %d: see --limit\n", filter.Limit)
		}
		if f.output == "json" {
			return printJSON(c, intake.List{Tasks: append([]intake.View{}, tasks...)})
		}
		return printTable(c.OutOrStdout(), tasks, time.Now())
	})
	f.add(c.Flags())
	const most = 100
	c.Flags().StringVarP(&filter.Namespace, "namespace", "n", "", "only of this namespace")
	c.Flags().StringVar(&filter.Revision, "revision", "", "only of this revision: NAMESPACE/NAME, or NAME of --namespace or default")
	c.Flags().StringVar(&state, "state", "", "only in this state: "+states())
	c.Flags().IntVar(&filter.Limit, "limit", most, "how many at most")
	return c
}

func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

func states() string {
	names := make([]string, len(task.States))
	for i, s := range task.States {
		names[i] = string(s)
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func showCommand() *cobra.Command {
	f, result := &flags{}, false
	c := &cobra.Command{
		Use: "show ID", Short: "Tell what has become of a task, and why", Args: cobra.ExactArgs(1),
		Long: `Tells the life of a task: when it was accepted, how long it waited and for what, which replica ran each of its
tries and how that ended, what is next, and what became of its callback and dead letter. With --result it
prints what the application answered instead, as it is.`,
		Example: `  sluice tasks show 06f8q2zq5ms70akc2z9ecjhvtw6fyr0q2d0g
  sluice tasks show 06f8q2zq5ms70akc2z9ecjhvtw6fyr0q2d0g --result > picture.png`,
	}
	c.RunE = f.run(func(ctx context.Context, c *cobra.Command, args []string) error {
		v, err := f.client.Get(ctx, args[0])
		switch {
		case err != nil:
			return err
		case result:
			return f.client.WriteResult(ctx, v.ID, c.OutOrStdout())
		case f.output == "json":
			return printJSON(c, v)
		}
		return printStory(c.OutOrStdout(), &v.Task, time.Now())
	})
	f.add(c.Flags())
	f.addGateway(c.Flags())
	c.Flags().BoolVar(&result, "result", false, "print the body of the application's answer")
	return c
}

// stepCommand makes a command that takes a step of each task that is named. It goes on after an error, and fails at the end.
func stepCommand(name, short string, step func(*Client, context.Context, string) (intake.View, error)) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use: name + " ID...", Short: short, Args: cobra.MinimumNArgs(1),
		Example: "  sluice tasks " + name + ` 06f8q2zq5ms70akc2z9ecjhvtw6fyr0q2d0g
  sluice tasks ` + name + ` 06f8q2zq5ms70akc2z9ecjhvtw6fyr0q2d0g --gateway https://gateway.example.com --host render.shop.example.com`,
	}
	c.RunE = f.run(func(ctx context.Context, c *cobra.Command, ids []string) error {
		var wrong []error
		for _, id := range ids {
			v, err := step(&f.client, ctx, id)
			switch {
			case err != nil:
				wrong = append(wrong, err)
			case f.output == "json":
				wrong = append(wrong, printJSON(c, v))
			default:
				fmt.Fprintf(c.OutOrStdout(), "%s is %s\n", v.ID, v.State)
			}
		}
		return errors.Join(wrong...)
	})
	f.add(c.Flags())
	f.addGateway(c.Flags())
	return c
}

func printJSON(c *cobra.Command, v any) error {
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
