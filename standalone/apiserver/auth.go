package apiserver

import (
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authentication/user"
)

// adminName is the one user there is.
const adminName = "admin"

// adminByToken lets whoever brings the token be the administrator. Everybody else is refused.
func adminByToken(token string) authenticator.Request {
	admin := &user.DefaultInfo{Name: adminName, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	return bearertoken.New(tokenfile.New(map[string]*user.DefaultInfo{token: admin}))
}
