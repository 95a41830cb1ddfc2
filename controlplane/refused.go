package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds/resource"
)

// maxText bounds a client's error text in a Problem, in bytes: it is part of a status.
const maxText = 500

// refused is what clients refuse, and how many clients there are of each role.
type refused struct {
	refusals []resource.Refusal
	clients  [3]int // gateways, activators, gRPC clients
}

// take reports whether what there is to say of refusals may have changed.
func (r *refused) take(refusals []resource.Refusal, c clients) bool {
	now := refused{refusals, [3]int{c.gateway.Clients, c.activator.Clients, c.mesh.Clients}}
	changed := !slices.Equal(now.refusals, r.refusals) || len(now.refusals) > 0 && now.clients != r.clients
	*r = now
	return changed
}

// problems returns a Problem for each refusal and each object whose status should show it.
func (r *refused) problems(of *translator.Output) []model.Problem {
	var problems []model.Problem
	reported := map[string]bool{}
	for _, x := range r.refusals {
		if x.NeverAcked == x.Clients && x.Clients < r.all(x.Role) {
			// Others serve it: the one that takes nothing says nothing of it.
			if !reported[x.Client] {
				reported[x.Client] = true
				problems = append(problems, r.ofClient(x))
			}
			continue
		}
		message := r.message(x)
		for _, owner := range of.Owners(x.Type, x.Name, x.Role, x.Text) {
			problems = append(problems, model.Problem{Owner: owner, Reason: model.ResourceRefused, Message: message})
		}
	}
	return problems
}

// message is a sentence such as: 2 of 3 gateways refuse Cluster "default/hello-00001": no. They keep the version before it.
func (r *refused) message(x resource.Refusal) string {
	role, all := roleName(x.Role), r.all(x.Role)
	rest := "They keep what they had."
	if x.RolledBack {
		rest = "All " + role + " keep the version before it."
	}
	return fmt.Sprintf("%d of %d %s refuse %s %q: %s. %s",
		x.Clients, max(all, x.Clients), role, x.Type[strings.LastIndexByte(x.Type, '.')+1:], x.Name, words(x.Text), rest)
}

// ofClient is a problem of a client that refuses everything: no object's status is the place for it.
func (r *refused) ofClient(x resource.Refusal) model.Problem {
	return model.Problem{
		Owner: model.Ref{Kind: "Client", Key: model.Key{Name: x.Client}}, Reason: model.ResourceRefused,
		Message: fmt.Sprintf("Client %q refuses everything that it was sent, such as %s %q: %s. Others of the %d %s serve what it does not.",
			x.Client, x.Type[strings.LastIndexByte(x.Type, '.')+1:], x.Name, words(x.Text), r.all(x.Role), roleName(x.Role)),
	}
}

// all is how many clients of a role there are.
func (r *refused) all(role uint8) int {
	switch role {
	case contract.RoleActivator:
		return r.clients[1]
	case contract.RoleMesh:
		return r.clients[2]
	}
	return r.clients[0]
}

func roleName(role uint8) string {
	switch role {
	case contract.RoleActivator:
		return "activators"
	case contract.RoleMesh:
		return "gRPC clients"
	}
	return "gateways"
}

// words returns a client's error text as part of a sentence.
func words(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return strings.TrimSuffix(text, ".")
}
