package loops

import (
	"fmt"

	"sluice.dev/sluice/model"
)

// RoutesUsage is the help of --routes.
const RoutesUsage = "the form in which routes reach gateways: scoped, those of each host a resource of its own (SRDS), " +
	"so that a change costs what changed, or inline, all in one resource, " +
	"for gateways without SRDS (Envoy and the built-in one have it, MOSN has not)"

// CheckRoutes finds what is wrong with the value of --routes.
func CheckRoutes(form model.RouteForm) error {
	if form != model.Inline && form != model.Scoped {
		return fmt.Errorf("--routes %q is neither %s nor %s", form, model.Scoped, model.Inline)
	}
	return nil
}
