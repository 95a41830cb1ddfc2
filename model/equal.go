package model

import "slices"

// Values of a World are compared to find out what has changed. A field that Equal does not compare is a change that never reaches
// Envoy, so a test changes each field and requires Equal to notice.

// Equal says whether two gateways are the same.
func (g Gateway) Equal(o Gateway) bool {
	return g.HTTP == o.HTTP && g.HTTPS == o.HTTPS && g.Local == o.Local && g.Routes == o.Routes &&
		slices.EqualFunc(g.Certificates, o.Certificates, Certificate.Equal)
}

// Equal says whether two certificates are the same.
func (c Certificate) Equal(o Certificate) bool {
	return c.Name == o.Name && c.Chain == o.Chain && c.Key == o.Key && slices.Equal(c.Hosts, o.Hosts)
}

// Equal says whether two routes are the same.
func (r Route) Equal(o Route) bool {
	return r.Key == o.Key && r.Owner == o.Owner && r.Created.Equal(o.Created) && slices.EqualFunc(r.Rules, o.Rules, Rule.Equal)
}

// Equal says whether two rules are the same.
func (r Rule) Equal(o Rule) bool {
	return r.Tag == o.Tag && slices.Equal(r.Hosts, o.Hosts) && slices.Equal(r.LocalHosts, o.LocalHosts) &&
		slices.Equal(r.Shares, o.Shares) && slices.Equal(r.TagHeader, o.TagHeader)
}

// Equal says whether two backends are the same.
func (b Backend) Equal(o Backend) bool {
	return b.Revision == o.Revision && b.Owner == o.Owner && b.Protocol == o.Protocol && b.Direct == o.Direct &&
		b.Via == o.Via && b.Activators == o.Activators && b.Concurrency == o.Concurrency && b.Timeout == o.Timeout &&
		b.Failure.equal(o.Failure) && b.Start == o.Start && slices.Equal(b.Endpoints, o.Endpoints)
}

func (f *Failure) equal(o *Failure) bool { return f == o || f != nil && o != nil && *f == *o }
