package resource

// otherTypes is the short name of all types that have none of their own, so that clients cannot add names to the metrics.
const otherTypes = "other"

// typeNames are the short names that operators use.
var typeNames = []struct{ url, name string }{
	{ClusterType, "cds"}, {EndpointType, "eds"}, {SecretType, "sds"},
	{ListenerType, "lds"}, {ScopedRouteType, "srds"}, {RouteType, "rds"},
	{ExtensionType, "ecds"},
}

// TypeName is the short name of a type by its URL: cds, eds, sds, lds, srds, rds, ecds, or "other".
func TypeName(url string) string {
	for _, t := range typeNames {
		if t.url == url {
			return t.name
		}
	}
	return otherTypes
}

// TypeURL is the URL of a type by its short name; empty if no type has the name.
func TypeURL(name string) string {
	for _, t := range typeNames {
		if t.name == name {
			return t.url
		}
	}
	return ""
}
