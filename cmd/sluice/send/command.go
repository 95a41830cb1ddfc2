package send

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// Command sends a CloudEvent.
func Command() *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use: "send URL", Short: "Send a CloudEvent to a service", Args: cobra.ExactArgs(1),
		Long: `Sends one CloudEvent by HTTP, and prints the reply. The status and the Location of the reply go to
standard error, its body to standard output. The command fails if the event was not accepted.

An event has an id, a source and a type. Where no id is given a random one is used; give one to
send the same event again. The data are of --data or of a file, and JSON where they can be read as
JSON. In binary mode, the default, the attributes are headers and the data the body; in structured
mode all is one JSON object.

With --follow the event becomes an asynchronous task, which a service of the class event.sluice.dev
keeps until it is done, see sluice tasks. The states of the task go to standard error, and what the
application answers to standard output. The exit code is then 0 when the task is done, 3 when it
failed, 4 when somebody cancelled it, and 1 when it was not accepted or has not ended in time: then it
goes on.`,
		Example: `  sluice send http://127.0.0.1:8080 --host hello.default.example.com --type order --data '{"item":1}'
  sluice send https://hello.example.com/orders --type order --source /shop --id 42 --data-file order.json
  sluice send http://127.0.0.1:8080 --host render.default.localhost --data-file scene.json --follow > picture.png
  sluice send http://127.0.0.1:8080 --host hello.default.example.com --type order --structured --extension sluicepriority=high`,
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := f.event(cmd.InOrStdin())
			if err != nil {
				return err
			}
			r, err := f.request(args[0], &e)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			defer client.CloseIdleConnections()
			if f.follow {
				return follow(client, r.WithContext(ctx), cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return send(client, r.WithContext(ctx), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.kind, "type", "dev.sluice.sent", "type of the event: what has happened")
	flags.StringVar(&f.source, "source", "/sluice/send", "source of the event, a URI reference: where it has happened")
	flags.StringVar(&f.id, "id", "", "id of the event, unique within its source; random by default")
	flags.StringVar(&f.subject, "subject", "", "subject of the event: what it has happened to")
	flags.StringVar(&f.data, "data", "", "data of the event")
	flags.StringVar(&f.dataFile, "data-file", "", "file with the data, or - for standard input")
	flags.StringVar(&f.contentType, "content-type", "", "media type of the data; by default that of JSON or of text")
	flags.StringToStringVar(&f.extensions, "extension", nil, "further attribute, NAME=VALUE; may be repeated")
	flags.BoolVar(&f.structured, "structured", false, "send in structured mode")
	flags.BoolVar(&f.async, "async", false, "ask for an answer before the event is processed (Prefer: respond-async)")
	flags.BoolVar(&f.follow, "follow", false, "as --async, then wait for the result of the task and print it")
	flags.StringVar(&f.host, "host", "", "host of the service where it is not that of URL, such as with the address of a gateway")
	const patience = 5 * time.Minute
	flags.DurationVar(&f.timeout, "timeout", patience, "how long to wait for the reply, and with --follow for the result")
	c.MarkFlagsMutuallyExclusive("data", "data-file")
	return c
}
