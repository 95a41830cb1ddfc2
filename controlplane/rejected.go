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

// maxText bounds how much of a client's error text a Problem quotes, in bytes: people read it in a status.
const maxText = 500

// rejected has the resources that clients reject, and how many clients of each role are connected.
type rejected struct {
	rejections []resource.Rejection
	clients    [3]int // gateways, activators, gRPC clients
}

// take stores the newest values and reports whether the problems may have changed with them.
func (r *rejected) take(rejections []resource.Rejection, c clients) bool {
	now := rejected{rejections, [3]int{c.gateway.Clients, c.activator.Clients, c.mesh.Clients}}
	changed := !slices.Equal(now.rejections, r.rejections) || len(now.rejections) > 0 && now.clients != r.clients
	*r = now
	return changed
}

// problems makes a Problem of each rejection for each object whose status should show it.
func (r *rejected) problems(of *translator.Output) []model.Problem {
	var problems []model.Problem
	reported := map[string]bool{} // clients that reject everything
	for _, x := range r.rejections {
		if x.NeverAcked == x.Clients && x.Clients < r.all(x.Role) {
			// Only clients that reject everything reject it, and others serve it: the fault is the client's, not the resource's.
			if !reported[x.Client] {
				reported[x.Client] = true
				problems = append(problems, r.ofClient(x))
			}
			continue
		}
		message := r.message(x)
		for _, owner := range of.Owners(x.Type, x.Name, x.Role, x.Text) {
			problems = append(problems, model.Problem{Owner: owner, Reason: model.ResourceRejected, Message: message})
		}
	}
	return problems
}

// message is a sentence such as: 2 of 3 gateways reject Cluster "default/hello-00001": no. They keep the version before it.
func (r *rejected) message(x resource.Rejection) string {
	role, all := roleName(x.Role), r.all(x.Role)
	effect := "They keep what they had."
	if x.RolledBack {
		effect = "All " + role + " keep the version before it."
	}
	return fmt.Sprintf("%d of %d %s reject %s %q: %s. %s",
		x.Clients, max(all, x.Clients), role, x.Type[strings.LastIndexByte(x.Type, '.')+1:], x.Name, quote(x.Text), effect)
}

// ofClient is the problem of a client that rejects everything. It belongs to no object's status.
func (r *rejected) ofClient(x resource.Rejection) model.Problem {
	return model.Problem{
		Owner: model.Ref{Kind: "Client", Key: model.Key{Name: x.Client}}, Reason: model.ResourceRejected,
		Message: fmt.Sprintf("Client %q rejects everything that it was sent, such as %s %q: %s. "+
			"Other clients of the %d %s serve what it rejects.",
			x.Client, x.Type[strings.LastIndexByte(x.Type, '.')+1:], x.Name, quote(x.Text), r.all(x.Role), roleName(x.Role)),
	}
}

// all is how many clients of a role are connected.
func (r *rejected) all(role uint8) int {
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

// quote makes a client's error text part of a sentence.
func quote(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return strings.TrimSuffix(text, ".")
}
