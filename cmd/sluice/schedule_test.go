package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runPreview(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := scheduleCommand()
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"preview"}, args...))
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// The clocks are set forward on 28 March.
func TestPreviewOfTheExample(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "schedule.svg")
	out, err := runPreview(t, "-f", "../../examples/schedule", "--from", "2027-03-26 09:00", "--days", "3", "--svg", svg)
	if err != nil {
		t.Fatal(err)
	}
	want := `ScalingSchedule "office", times in Europe/Berlin
ScalingSchedule "night", times in Europe/Berlin

WINDOW OPENS               CLOSES                     OPEN FOR  ENTRY  MIN  MAX
Fri 2027-03-26 08:00 CET   Fri 2027-03-26 18:00 CET   10h       hours  4    -
Fri 2027-03-26 11:30 CET   Fri 2027-03-26 13:00 CET   1h30m     lunch  6    -
Fri 2027-03-26 22:00 CET   Sat 2027-03-27 06:00 CET   8h        night  -    2
Sat 2027-03-27 22:00 CET   Sun 2027-03-28 06:00 CEST  7h        night  -    2
Sun 2027-03-28 22:00 CEST  Mon 2027-03-29 06:00 CEST  8h        night  -    2
Mon 2027-03-29 08:00 CEST  Mon 2027-03-29 18:00 CEST  10h       hours  4    -

FROM                       MIN  MAX  BY
Fri 2027-03-26 09:00 CET   4    -    hours
Fri 2027-03-26 11:30 CET   6    -    lunch
Fri 2027-03-26 13:00 CET   4    -    hours
Fri 2027-03-26 18:00 CET   -    -    -
Fri 2027-03-26 22:00 CET   -    2    night
Sat 2027-03-27 06:00 CET   -    -    -
Sat 2027-03-27 22:00 CET   -    2    night
Sun 2027-03-28 06:00 CEST  -    -    -
Sun 2027-03-28 22:00 CEST  -    2    night
Mon 2027-03-29 06:00 CEST  -    -    -
Mon 2027-03-29 08:00 CEST  4    -    hours
`
	if out != want {
		t.Errorf("got:\n%s\nwant:\n%s", out, want)
	}
	picture, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"<svg", "times in Europe/Berlin", "03-26 15:00", "least", "most", "</svg>"} {
		if !strings.Contains(string(picture), part) {
			t.Errorf("the picture lacks %q", part)
		}
	}
}

func TestPreviewOfATemplate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const service = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata:
      annotations:
        autoscaling.sluice.dev/schedule: |
          entries: [{name: a, start: "ZERO 8 * * *", duration: 1h, minReplicas: 1}]
`
	write(strings.Replace(service, "ZERO", "0", 1))
	out, err := runPreview(t, "-f", file, "--from", "2027-01-01T00:00:00Z", "--days", "1")
	if err != nil || !strings.Contains(out, `annotation autoscaling.sluice.dev/schedule of Service "hello", times in UTC`) {
		t.Errorf("%v: %s", err, out)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing to show":  {[]string{"-f", "../../examples/hello"}, "neither a ScalingSchedule nor a template with the annotation"},
		"no file":          {nil, "want either -f FILE or the NAME of a ScalingSchedule"},
		"both":             {[]string{"-f", file, "office"}, "want either -f FILE or the NAME of a ScalingSchedule"},
		"too many days":    {[]string{"-f", file, "--days", "1000"}, "--days 1000 is not from 1 to 366"},
		"too many windows": {[]string{"-f", file, "--windows", "0"}, "--windows 0 is not from 1 to 1000"},
		"a wrong moment":   {[]string{"-f", file, "--from", "tomorrow"}, `--from "tomorrow" is no moment such as 2027-03-27`},
	} {
		if _, err := runPreview(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	write(service)
	if _, err := runPreview(t, "-f", file); err == nil || !strings.Contains(err.Error(), `entry a: start: "ZERO 8 * * *" is no cron`) {
		t.Errorf("a wrong cron: %v", err)
	}
}
