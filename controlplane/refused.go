package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
)

// maxText is how much of a client's words goes into a Problem, in bytes: it is to be read in a status.
const maxText = 500

// refused is what clients refuse, and how many clients there are of each role.
type refused struct {
	refusals []xds.Refusal
	clients  [3]int // gateways, activators, gRPC clients
}

// take reports whether what there is to say of refusals may have changed.
func (r *refused) take(refusals []xds.Refusal, c clients) bool {
	now := refused{refusals, [3]int{c.gateway.Clients, c.activator.Clients, c.mesh.Clients}}
	changed := !slices.Equal(now.refusals, r.refusals) || len(now.refusals) > 0 && now.clients != r.clients
	*r = now
	return changed
}

// problems puts each refusal on the objects whose status should show it.
func (r *refused) problems(of *translator.Output) []model.Problem {
	var problems []model.Problem
	for _, x := range r.refusals {
		message := r.message(x)
		for _, owner := range of.Owners(x.Type, x.Name, x.Role, x.Text) {
			problems = append(problems, model.Problem{Owner: owner, Reason: model.ResourceRefused, Message: message})
		}
	}
	return problems
}

// message is a sentence such as: 2 of 3 gateways refuse Cluster "default/hello-00001": no. They keep the version before it.
func (r *refused) message(x xds.Refusal) string {
	role, all := "gateways", r.clients[0]
	switch x.Role {
	case xds.RoleActivator:
		role, all = "activators", r.clients[1]
	case xds.RoleMesh:
		role, all = "gRPC clients", r.clients[2]
	}
	text := strings.Join(strings.Fields(x.Text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	rest := "They keep what they had."
	if x.RolledBack {
		rest = "All " + role + " keep the version before it."
	}
	return fmt.Sprintf("%d of %d %s refuse %s %q: %s. %s",
		x.Clients, max(all, x.Clients), role, x.Type[strings.LastIndexByte(x.Type, '.')+1:], x.Name, strings.TrimSuffix(text, "."), rest)
}
