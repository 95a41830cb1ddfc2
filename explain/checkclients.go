package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// checkClients checks which clients have acknowledged the offered resources.
func (c *chain) checkClients() {
	var gateways, serving int
	var rejecting, behind, unknown []Client
	for _, client := range c.out.Clients {
		if client.Role == contract.Gateway {
			gateways++
			if c.serves(client) {
				serving++
			}
		}
		switch client.State {
		case StateRejects:
			rejecting = append(rejecting, client)
		case StateBehind:
			behind = append(behind, client)
		case StateUnknown:
			unknown = append(unknown, client)
		}
	}
	if gateways == 0 {
		c.broken(Link{
			Link: LinkClient, Object: "gateways", Reason: "NoGateway", Stops: true,
			Message: "No gateway is connected to the xDS server: one that was before serves what it had then",
			Remedy:  "Start one: sluice gateway, or an Envoy with what sluice bootstrap prints",
		})
	}
	for _, some := range [][]Client{rejecting, behind, unknown} {
		if len(some) > 0 {
			c.checkClient(some[0], fmt.Sprintf("%s of %d", count(len(some), "client", "clients"), len(c.out.Clients)),
				gateways > 0 && serving == 0)
		}
	}
	if len(rejecting) == 0 {
		c.checkRolledBack()
	}
}

// checkRolledBack reports a resource that a client has NACKed and that the server has rolled back for all clients.
func (c *chain) checkRolledBack() {
	i := slices.IndexFunc(c.out.Route.Conditions, func(o Condition) bool {
		return o.Reason == model.ResourceRejected && o.Type != model.Ready
	})
	if i < 0 {
		return
	}
	message := c.out.Route.Conditions[i].Message
	meant := c.claim == nil
	for r := range c.wanted() {
		meant = meant || strings.Contains(message, strconv.Quote(r.name))
	}
	if meant {
		c.broken(Link{
			Link: LinkClient, Object: servingRoute + " " + c.route.Key.String(), Reason: model.ResourceRejected, Message: message,
			Remedy: remedy(model.ResourceRejected, c.route.Key),
		})
	}
}

// checkClient reports what is wrong with some clients, by the first of them; nobody says that no gateway serves the requests.
func (c *chain) checkClient(first Client, share string, nobody bool) {
	l := Link{Link: LinkClient, Object: first.Role + " " + first.ID}
	switch first.State {
	case StateRejects:
		r := first.Rejects[0]
		l.Reason, l.Remedy = "Rejected", "Change what its text names, or update that client"
		l.Message = fmt.Sprintf("%s (%s) keeps what it had and rejects %s %s: %s", share, l.Object, r.Type, r.Name, r.Text)
		if (r.Type == KindListener || r.Type == KindRoutes) && r.Without {
			l.Reason, l.Stops = "NotServing", nobody
			l.Message = fmt.Sprintf("%s (%s) does not serve %s %s, which it rejects: %s", share, l.Object, r.Type, r.Name, r.Text)
		}
		if r.Type == KindListener && isTaken(r.Text) {
			l.Remedy = "Free that address, or have the gateway listen on another (sluice up --http, --https, --local); " +
				"it is tried again every half minute or sooner"
		}
	case StateBehind:
		l.Reason, l.Remedy = "Behind", "Ask again in a moment; if it stays so, that client hangs: restart it"
		l.Message = fmt.Sprintf("%s (%s) has not acknowledged %s for %.3g s", share, l.Object, first.Behind[0], first.BehindSeconds)
	default:
		l.Reason, l.Remedy = "HeldUp", "See whether that client, or the network to it, hangs"
		l.Message = fmt.Sprintf("%s (%s) does not take what it is sent, so it is unknown what it has", share, l.Object)
	}
	c.broken(l)
}

// serves says whether a gateway has a listener and routes for each group of hosts that the question is about.
func (c *chain) serves(client Client) bool {
	for _, g := range c.out.Hosts {
		if g.VirtualHost == nil || g.Local && c.claim == nil {
			continue
		}
		lacks := func(kind, name string) bool {
			return slices.ContainsFunc(client.Rejects, func(r Rejection) bool { return r.Type == kind && r.Name == name && r.Without })
		}
		has := slices.ContainsFunc(strings.Split(g.VirtualHost.Listener, ", "), func(listener string) bool {
			return !lacks(KindListener, listener) && !lacks(KindRoutes, c.Views.Offered.Listeners[listener].Routes)
		})
		if !has {
			return false
		}
	}
	return true
}

// isTaken says whether a client's error text is about an address that it cannot bind, in the words of Envoy or Go.
func isTaken(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "cannot bind") || strings.Contains(text, ": bind: ")
}
