package rollout

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

func TestDomainOfARoute(t *testing.T) {
	o := Options{Domain: "example.com", Domains: []Domain{
		{Name: "b.example", Selector: map[string]string{"app": "shop"}},
		{Name: "a.example", Selector: map[string]string{"app": "shop"}},
		{Name: "c.example", Selector: map[string]string{"app": "shop", "tier": "test"}},
		{Name: "d.example", Selector: map[string]string{"app": "shop", "tier": "test", "team": "x"}},
		{Name: "svc.cluster.local", Selector: map[string]string{"app": "internal"}},
	}}
	for name, c := range map[string]struct {
		labels map[string]string
		url    string
	}{
		"no labels":                         {nil, "http://hello.default.example.com"},
		"a label that no selector has":      {map[string]string{"app": "blog"}, "http://hello.default.example.com"},
		"the first of two by the alphabet":  {map[string]string{"app": "shop"}, "http://hello.default.a.example"},
		"the selector with the most labels": {map[string]string{"app": "shop", "tier": "test"}, "http://hello.default.c.example"},
		"a selector of which one label differs": {map[string]string{"app": "shop", "tier": "test", "team": "y"},
			"http://hello.default.c.example"},
		"the domain of the cluster": {map[string]string{"app": "internal"}, "http://hello.default.svc.cluster.local"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := route(latest(100, ""), pin("hello-00001", 0, "v1"))
			spec.Labels = c.labels
			in := input(spec, config(2, "hello-00002"), revs(2)...)
			in.Options = o
			plan := Route(in)
			check(t, "url", plan.URL, c.url)
			if local := strings.HasSuffix(c.url, ".svc.cluster.local"); local != (plan.Rules[0].Hosts == nil) ||
				local != (plan.Rules[1].Hosts == nil) {
				t.Errorf("external hosts %v and %v", plan.Rules[0].Hosts, plan.Rules[1].Hosts)
			}
			check(t, "address", plan.Address, "http://hello.default.svc.cluster.local")
		})
	}
	if url := Route(input(route(latest(100, "")), config(1, "hello-00001"), revs(1)...)).URL; url != "http://hello.default.localhost" {
		t.Errorf("without any domain the URL is %s", url)
	}
	in := input(route(latest(100, "")), config(1, "hello-00001"), revs(1)...)
	in.Options = Options{Domain: "svc.corp", ClusterDomain: "corp"}
	if plan := Route(in); plan.URL != "http://hello.default.svc.corp" || plan.Rules[0].Hosts != nil {
		t.Errorf("with the domain of the cluster as the default: URL %s, hosts %v", plan.URL, plan.Rules[0].Hosts)
	}
}

func TestOneTagMayBeLocal(t *testing.T) {
	for name, c := range map[string]struct {
		local                []string
		url, tag             string
		hosts, tagHosts      int
		certificateOfTheRest string
	}{
		"none": {nil, "http://hello.default.localhost", "http://v1-hello.default.localhost", 1, 1,
			"external-domain-tls is not enabled"},
		"the tag": {[]string{"v1"}, "http://hello.default.localhost", "http://v1-hello.default.svc.cluster.local", 1, 0,
			"external-domain-tls is not enabled"},
		"all but the tag": {[]string{""}, "http://hello.default.svc.cluster.local", "http://v1-hello.default.localhost", 0, 1,
			"TLS is not enabled for cluster-local"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := route(latest(100, ""), pin("hello-00001", 0, "v1"))
			spec.LocalTags = c.local
			plan := Route(input(spec, config(2, "hello-00002"), revs(2)...))
			check(t, "urls", []string{plan.URL, plan.Traffic[1].URL}, []string{c.url, c.tag})
			check(t, "external hosts", []int{len(plan.Rules[0].Hosts), len(plan.Rules[1].Hosts)}, []int{c.hosts, c.tagHosts})
			says(t, plan.Conditions, model.CertificateProvisioned, model.True, "TLSNotEnabled", c.certificateOfTheRest)
		})
	}
}

func TestTemplatesOfHosts(t *testing.T) {
	domain := func(text string) *DomainTemplate {
		p, err := ParseDomainTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	tag, err := ParseTagTemplate("{{.Name}}-{{.Tag}}")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options  Options
		url, tag string
		bad      string
	}{
		"defaults, written out": {
			Options{DomainTemplate: domain(DefaultDomainTemplate)}, "http://hello.default.localhost", "http://v1-hello.default.localhost",
			"",
		},
		"dashes": {
			Options{DomainTemplate: domain("{{.Name}}-{{.Namespace}}.{{.Domain}}"), TagTemplate: tag},
			"http://hello-default.localhost", "http://hello-v1-default.localhost", "",
		},
		"labels and annotations": {
			Options{DomainTemplate: domain(`{{.Name}}.{{index .Labels "team"}}.{{index .Annotations "sub"}}.{{.Domain}}`)},
			"http://hello.red.blue.localhost", "http://v1-hello.red.blue.localhost", "",
		},
		"an annotation that is missing": {
			Options{DomainTemplate: domain(`{{.Name}}.{{index .Annotations "no"}}.{{.Domain}}`)}, "", "",
			`invalid domain name "hello..localhost": `,
		},
		"a single label": {
			Options{DomainTemplate: domain("{{.Name}}")}, "", "", `invalid domain name "hello": `,
		},
		"a name of the cluster": {
			Options{DomainTemplate: domain("{{.Name}}.other.svc.cluster.local")}, "", "",
			`domain name "hello.other.svc.cluster.local" is one of hosts within the cluster`,
		},
		"one that fails": {
			Options{DomainTemplate: domain(`{{.Name}}.{{if .Labels}}{{slice .Name 3 99}}.{{end}}{{.Domain}}`)}, "", "",
			"executing the domain-template: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := route(latest(100, ""), pin("hello-00001", 0, "v1"))
			spec.Labels, spec.Annotations = map[string]string{"team": "red"}, map[string]string{"sub": "blue"}
			in := input(spec, config(2, "hello-00002"), revs(2)...)
			in.Options = c.options
			plan := Route(in)
			wellFormed(t, in, plan)
			if c.bad != "" {
				got := model.FindCondition(plan.Conditions, model.AllTrafficAssigned)
				if got.Reason != "ErrorConfig" || got.Status != model.False || !strings.HasPrefix(got.Message, c.bad) {
					t.Errorf("condition %+v, want ErrorConfig and %q", got, c.bad)
				}
				return
			}
			check(t, "urls", []string{plan.URL, plan.Traffic[1].URL}, []string{c.url, c.tag})
			check(t, "address", plan.Address, "http://hello.default.svc.cluster.local")
		})
	}
	// Local hosts and placeholders have the tag template, but not the domain template.
	in := input(route(latest(100, ""), pin("hello-00001", 0, "v1")), config(2, "hello-00002"), revs(2)...)
	in.Options = Options{TagTemplate: tag, DomainTemplate: domain("{{.Name}}.x.{{.Domain}}")}
	plan := Route(in)
	check(t, "local hosts", plan.Rules[1].LocalHosts,
		[]string{"hello-v1.default", "hello-v1.default.svc", "hello-v1.default.svc.cluster.local"})
	check(t, "placeholders", plan.Placeholders, []Placeholder{{Name: "hello"}, {Tag: "v1", Name: "hello-v1"}})
}

func TestTemplatesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"{{.Nme}}": "can't evaluate field Nme", "{{": "parsing", "{{.Name}}/x": "want a host name", "": "want a host name",
		"{{template \"domain-template\" .}}": "executing",
	} {
		if _, err := ParseDomainTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("domain template %q: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"{{.Namespace}}": "can't evaluate field Namespace", "{{.Tag}}_{{.Name}}": "want a part of a host name",
		"": "want a part of a host name",
	} {
		if _, err := ParseTagTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tag template %q: %v, want %q", text, err, want)
		}
	}
}

func TestRequestsWithoutTLS(t *testing.T) {
	enabled := model.HTTPOption("")
	redirected := model.HTTPRedirected
	for name, c := range map[string]struct {
		installation model.HTTPOption
		own          *model.HTTPOption
		local        bool
		want         model.HTTPOption
	}{
		"served":                           {"", nil, false, ""},
		"redirected for all":               {model.HTTPRedirected, nil, false, model.HTTPRedirected},
		"refused for all":                  {model.HTTPDisabled, nil, false, model.HTTPDisabled},
		"redirected for this one":          {"", &redirected, false, model.HTTPRedirected},
		"served for this one":              {model.HTTPRedirected, &enabled, false, ""},
		"nothing outside to redirect":      {model.HTTPRedirected, nil, true, ""},
		"nor where the Route asks to":      {"", &redirected, true, ""},
		"the Route asks for less than all": {model.HTTPDisabled, &redirected, false, model.HTTPRedirected},
	} {
		t.Run(name, func(t *testing.T) {
			spec := route(latest(100, ""))
			spec.HTTP, spec.ClusterLocal = c.own, c.local
			in := input(spec, config(1, "hello-00001"), revs(1)...)
			in.Options.HTTP = c.installation
			check(t, "option", Route(in).Rules[0].HTTP, c.want)
		})
	}
}

func TestRolloutDurationOfTheInstallation(t *testing.T) {
	o := Options{RolloutDuration: time.Minute}
	for own, want := range map[time.Duration]time.Duration{0: time.Minute, time.Second: time.Second} {
		if got := o.DurationOf(&model.RouteSpec{RolloutDuration: own}); got != want {
			t.Errorf("a Route with %s takes %s, want %s", own, got, want)
		}
	}
}

func TestPlaceholdersWhileATargetIsBad(t *testing.T) {
	spec := route(pin("hello-00001", 100, "old"), pin("missing", 0, "new"))
	spec.Served = []model.Target{{Tag: "kept", Revision: "hello-00001", Percent: 100}}
	plan := Route(input(spec, config(1, "hello-00001"), revs(1)...))
	check(t, "placeholders", plan.Placeholders, []Placeholder{
		{Name: "hello"}, {Tag: "old", Name: "old-hello"}, {Tag: "new", Name: "new-hello"}, {Tag: "kept", Name: "kept-hello"},
	})
}
