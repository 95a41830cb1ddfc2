package facts

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/model"
)

// gatherer reads the objects that a query is about.
type gatherer struct {
	ctx    context.Context
	reader client.Reader
	out    explain.Objects
}

// Objects reads the objects that a query is about: those of its name, the revisions and Configurations that they lead to, and all Routes
// where the query is a host, and the DomainMappings of a host that no Route has. Where nothing has the name it reads all Services and
// Routes, for explain to name alternatives.
func Objects(ctx context.Context, reader client.Reader, query explain.Query) (explain.Objects, error) {
	g := &gatherer{ctx: ctx, reader: reader}
	key := query.Key
	if query.Host != "" {
		if err := g.allRoutes(); err != nil {
			return g.out, err
		}
		var err error
		if key, err = g.holder(query.Host); key == (model.Key{}) || err != nil {
			return g.out, err
		}
	}
	if err := g.family(key); err != nil {
		return g.out, err
	}
	if len(g.out.Services)+len(g.out.Routes)+len(g.out.Configurations) == 0 {
		return g.out, g.neighbours(key)
	}
	return g.out, g.named(key)
}

// holder returns the name of the Route that has a host, by itself or by a DomainMapping; zero when there is none.
func (g *gatherer) holder(host string) (model.Key, error) {
	if claims := explain.Claims(g.out.Routes, host); len(claims) > 0 {
		return claims[0].Route.Key, nil
	}
	var list servingv1beta1.DomainMappingList
	if err := g.reader.List(g.ctx, &list, client.MatchingFields{"metadata.name": host}); err != nil && !meta.IsNoMatchError(err) {
		return model.Key{}, err
	}
	for i := range list.Items {
		g.out.Mappings = append(g.out.Mappings, convert.Mapping(&list.Items[i]))
	}
	if m := explain.MappingOf(g.out.Mappings, host); m != nil {
		return m.Target.Key, nil
	}
	return model.Key{}, nil
}

// family reads the Service, Configuration and Route of one name.
func (g *gatherer) family(key model.Key) error {
	service, err := get[servingv1.Service](g, key)
	if err != nil {
		return err
	}
	if service != nil {
		g.out.Services = append(g.out.Services, convert.Service(service))
	}
	configuration, err := get[servingv1.Configuration](g, key)
	if err != nil {
		return err
	}
	if configuration != nil {
		g.out.Configurations = append(g.out.Configurations, convert.Configuration(configuration))
	}
	if len(g.out.Routes) > 0 { // read already, with all others
		return nil
	}
	route, err := get[servingv1.Route](g, key)
	if route != nil {
		g.out.Routes = append(g.out.Routes, convert.Route(route))
	}
	return err
}

// neighbours reads what a name that nothing has may have meant.
func (g *gatherer) neighbours(key model.Key) error {
	var services servingv1.ServiceList
	if err := g.reader.List(g.ctx, &services); err != nil {
		return err
	}
	for i := range services.Items {
		g.out.Services = append(g.out.Services, convert.Service(&services.Items[i]))
	}
	if err := g.allRoutes(); err != nil {
		return err
	}
	return g.addRevision(key)
}

func (g *gatherer) allRoutes() error {
	var routes servingv1.RouteList
	if err := g.reader.List(g.ctx, &routes); err != nil {
		return err
	}
	for i := range routes.Items {
		g.out.Routes = append(g.out.Routes, convert.Route(&routes.Items[i]))
	}
	return nil
}

// named reads the Configurations that the Route names, their revisions, and the revisions that it names itself.
func (g *gatherer) named(key model.Key) error {
	var configurations, revisions []string
	for _, r := range g.out.Routes {
		if r.Key != key {
			continue
		}
		for _, t := range slices.Concat(r.Traffic, r.Served) {
			configurations, revisions = append(configurations, t.Configuration), append(revisions, t.Revision)
		}
	}
	for _, name := range configurations {
		if err := g.addConfiguration(model.Key{Namespace: key.Namespace, Name: name}); err != nil {
			return err
		}
	}
	for _, c := range g.out.Configurations {
		if err := g.revisionsOf(c.Key); err != nil {
			return err
		}
	}
	for _, name := range revisions {
		if err := g.addRevision(model.Key{Namespace: key.Namespace, Name: name}); err != nil {
			return err
		}
	}
	return nil
}

// addConfiguration reads a Configuration unless it was read before.
func (g *gatherer) addConfiguration(key model.Key) error {
	if key.Name == "" || slices.ContainsFunc(g.out.Configurations, func(c *model.Configuration) bool { return c.Key == key }) {
		return nil
	}
	c, err := get[servingv1.Configuration](g, key)
	if c != nil {
		g.out.Configurations = append(g.out.Configurations, convert.Configuration(c))
	}
	return err
}

func (g *gatherer) revisionsOf(configuration model.Key) error {
	var list servingv1.RevisionList
	label := client.MatchingLabels{servingv1.ConfigurationLabel: configuration.Name}
	if err := g.reader.List(g.ctx, &list, client.InNamespace(configuration.Namespace), label); err != nil {
		return err
	}
	for i := range list.Items {
		g.out.Revisions = append(g.out.Revisions, revisionState(&list.Items[i]))
	}
	return nil
}

// addRevision reads a revision unless it was read before.
func (g *gatherer) addRevision(key model.Key) error {
	if key.Name == "" || slices.ContainsFunc(g.out.Revisions, func(r *explain.RevisionState) bool { return r.Key == key }) {
		return nil
	}
	r, err := get[servingv1.Revision](g, key)
	if r != nil {
		g.out.Revisions = append(g.out.Revisions, revisionState(r))
	}
	return err
}

// get reads an object; it is nil when there is none.
func get[T any, P interface {
	*T
	client.Object
}](g *gatherer, key model.Key) (*T, error) {
	o := P(new(T))
	err := g.reader.Get(g.ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, o)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // an object that does not exist is an answer
	case err != nil:
		return nil, err
	}
	return (*T)(o), nil
}

func revisionState(r *servingv1.Revision) *explain.RevisionState {
	out := &explain.RevisionState{
		Revision: convert.Revision(r), Generation: r.Generation, Observed: r.Status.ObservedGeneration,
		Desired: model.UnknownReplicas, Actual: model.UnknownReplicas, Why: r.Status.Annotations[servingv1.ScaleWhyAnnotation],
	}
	if asked := r.Status.Annotations[servingv1.ScaleSignalsAnnotation]; asked != "" {
		out.Asked = strings.Split(asked, "\n")
	}
	scaled := convert.Scaled(r)
	out.Unguarded = scaled.Source == model.FromEnvoy && scaled.Concurrency > 0
	for _, spelling := range []string{"targetBurstCapacity", "target-burst-capacity"} { // the last one counts
		if v := r.Annotations[servingv1.AutoscalingGroup+"/"+spelling]; v != "" {
			out.BurstCapacity = v
		}
	}
	if n := r.Status.DesiredReplicas; n != nil {
		out.Desired = int(*n)
	}
	if n := r.Status.ActualReplicas; n != nil {
		out.Actual = int(*n)
	}
	return out
}
